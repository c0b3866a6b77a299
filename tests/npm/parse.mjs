// node --import ./json.mjs parse.mjs ROOT FILE...: what GitHub's own parser says of workflows and actions, as JSON.
// Workflows of ours that others call are read from ROOT; so is whatever they pass to one another.
import { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } from "@actions/workflow-parser";
import { parseAction } from "@actions/workflow-parser/actions/action-parser";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [root, ...files] = process.argv.slice(2);
const trace = new NoOperationTraceWriter();
const ours = {
  async getFileContent(place) {
    if (`${place.owner}/${place.repository}@${place.version}` !== "org/kpt@v1") {
      throw new Error(`nobody knows ${place.owner}/${place.repository}@${place.version}`);
    }
    return { name: place.path, content: readFileSync(join(root, place.path), "utf8") };
  },
};
const found = {};
for (const name of files) {
  const file = { name, content: readFileSync(name, "utf8") };
  const isAction = name.endsWith("action.yml");
  const parsed = isAction ? parseAction(file, trace) : parseWorkflow(file, trace);
  if (!isAction && parsed.value) {
    await convertWorkflowTemplate(parsed.context, parsed.value, ours, {
      errorPolicy: 1,
      fetchReusableWorkflowDepth: 1,
    });
  }
  found[name] = parsed.context.errors.getErrors().map((error) => error.message);
}
console.log(JSON.stringify(found));
