"""What the emulated GitHub does for each operation of the Git data API."""

from __future__ import annotations

from typing import Any

from tests.emulators.github.acts import Answer, Request, act
from tests.emulators.github.objects import bytes_of, wrapped
from tests.emulators.github.refusal import Refusal, invalid, not_found


@act("POST HERE/git/blobs")
def _new_blob(request: Request) -> Answer:
    request.must("write", "contents")
    sha = request.repository.objects.blob(bytes_of(request.body))
    return 201, {"sha": sha, "url": _url(request, "blobs", sha)}


@act("GET HERE/git/blobs/{file_sha}")
def _blob(request: Request) -> Answer:
    request.must("read", "contents")
    sha = request.path["file_sha"]
    data = request.repository.objects.blobs.get(sha)
    if data is None:
        raise not_found()
    return 200, {
        "sha": sha,
        "node_id": f"B_{sha}",
        "size": len(data),
        "encoding": "base64",
        "content": wrapped(data),
        "url": _url(request, "blobs", sha),
    }


@act("POST HERE/git/trees")
def _new_tree(request: Request) -> Answer:
    request.must("write", "contents")
    objects = request.repository.objects
    sha = objects.with_changes(request.body.get("base_tree"), request.body["tree"])
    return 201, _tree_of(request, sha, deep=False)


@act("GET HERE/git/trees/{tree_sha}")
def _tree(request: Request) -> Answer:
    request.must("read", "contents")
    objects, name = request.repository.objects, request.path["tree_sha"]
    if name in objects.commits:
        name = objects.commits[name].tree
    if name not in objects.trees:
        raise not_found()
    return 200, _tree_of(request, name, deep="recursive" in request.query)


@act("POST HERE/git/commits")
def _new_commit(request: Request) -> Answer:
    request.must("write", "contents")
    objects, body = request.repository.objects, request.body
    if body["tree"] not in objects.trees:
        raise invalid("Tree SHA does not exist")
    if any(parent not in objects.commits for parent in body.get("parents", [])):
        raise invalid("Parent SHA does not exist or is not a commit object")
    sha = objects.commit(body["tree"], body.get("parents", []), body["message"], request.world.clock())
    return 201, objects.as_commit(sha)


@act("GET HERE/git/commits/{commit_sha}")
def _commit(request: Request) -> Answer:
    request.must("read", "contents")
    if request.path["commit_sha"] not in request.repository.objects.commits:
        raise not_found()
    return 200, request.repository.objects.as_commit(request.path["commit_sha"])


@act("GET HERE/git/ref/{ref}")
def _ref(request: Request) -> Answer:
    request.must("read", "contents")
    sha = request.repository.objects.refs.get(request.path["ref"])
    if sha is None:
        raise not_found()
    return 200, _ref_of(request, request.path["ref"], sha)


@act("POST HERE/git/refs")
def _new_ref(request: Request) -> Answer:
    request.must("write", "contents")
    objects, name, sha = request.repository.objects, str(request.body["ref"]), str(request.body["sha"])
    if not name.startswith("refs/") or name.count("/") < 2:
        raise invalid(f"{name} is not a valid ref name.")
    if name.removeprefix("refs/") in objects.refs:
        raise invalid("Reference already exists")
    if sha not in objects.commits:
        raise invalid("Object does not exist")
    objects.refs[name.removeprefix("refs/")] = sha
    return 201, _ref_of(request, name.removeprefix("refs/"), sha)


@act("PATCH HERE/git/refs/{ref}")
def _move(request: Request) -> Answer:
    request.must("write", "contents")
    objects, name = request.repository.objects, request.path["ref"]
    objects.move(name, str(request.body["sha"]), force=bool(request.body.get("force", False)))
    return 200, _ref_of(request, name, objects.refs[name])


@act("GET HERE/commits")
def _commits(request: Request) -> Answer:
    request.must("read", "contents")
    objects = request.repository.objects
    start = request.query.get("sha", "main")
    tip = objects.refs.get(f"heads/{start}", start)
    if tip not in objects.commits:
        raise not_found()
    return 200, [_listed(request, sha) for sha in objects.ancestors(tip)]


@act("GET HERE/compare/{basehead}")
def _compare(request: Request) -> Answer:
    request.must("read", "contents")
    base, dots, head = request.path["basehead"].partition("...")
    objects = request.repository.objects
    tips = [objects.refs.get(f"heads/{tip}", tip) for tip in (base, head)]
    if not dots or any(tip not in objects.commits for tip in tips):
        raise not_found()
    behind, ahead = (list(objects.ancestors(tip)) for tip in tips)
    new = [sha for sha in ahead if sha not in behind]
    if not set(ahead) & set(behind):
        raise Refusal(404, f"No common ancestor between {base} and {head}.")
    common = next(sha for sha in ahead if sha in behind)
    return 200, {
        "status": "ahead" if new else "identical",
        "ahead_by": len(new),
        "behind_by": len([sha for sha in behind if sha not in ahead]),
        "total_commits": len(new),
        "base_commit": _listed(request, tips[0]),
        "merge_base_commit": _listed(request, common),
        "commits": [_listed(request, sha) for sha in reversed(new)],
    }


def _listed(request: Request, sha: str) -> dict[str, Any]:
    commit = request.repository.objects.as_commit(sha)
    return {
        "sha": sha,
        "html_url": f"https://github.com/{request.repository.name}/commit/{sha}",
        "commit": {key: commit[key] for key in ("message", "tree", "author", "committer")},
        "author": None,
        "committer": None,
        "parents": commit["parents"],
    }


def _tree_of(request: Request, sha: str, *, deep: bool) -> dict[str, Any]:
    entries = list(request.repository.objects.walk(sha, deep=deep))
    return {"sha": sha, "url": _url(request, "trees", sha), "truncated": False, "tree": entries}


def _ref_of(request: Request, name: str, sha: str) -> dict[str, Any]:
    return {
        "ref": f"refs/{name}",
        "node_id": f"R_{sha}",
        "url": _url(request, "refs", name),
        "object": {"type": "commit", "sha": sha, "url": _url(request, "commits", sha)},
    }


def _url(request: Request, kind: str, name: str) -> str:
    return f"{request.api}/repos/{request.repository.name}/git/{kind}/{name}"
