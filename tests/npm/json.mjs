// The parser imports its schemas as JSON without saying so, which node refuses: say it for it.
import { register } from "node:module";

const hook = `
export function load(url, context, next) {
  const attributes = url.endsWith(".json") ? { type: "json" } : context.importAttributes;
  return next(url, { ...context, importAttributes: attributes });
}`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
