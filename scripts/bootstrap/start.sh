# shellcheck shell=bash
# start ROOT ENTRY ARGS…: replaces this process by ENTRY of the locked environment, which it makes or mends first.
# Bash 3.2 is enough. Variables for callers:
#   CI_RUNNER_VENV    where the environment is (default: .venv in the checkout; relative to the checkout)
#   CI_RUNNER_GROUPS  dependency groups to install (default: test; empty: none)
#   CI_RUNNER_EXTRAS  extras to install besides those that the command needs (scripts/bootstrap/extras.txt)
# The word "all" stands for every group or every extra. What has been installed before stays: groups and extras add up.

start() {
  local root=$1 entry=$2 venv extras
  shift 2
  if (($$ == 1)); then
    begin_as_first "$root" "$entry" "$@"
  fi
  [[ $root == /* ]] || root=$PWD/$root
  venv=${CI_RUNNER_VENV:-.venv}
  [[ $venv == /* ]] || venv=$root/$venv
  local groups=${CI_RUNNER_GROUPS-test}
  extras=${CI_RUNNER_EXTRAS-}
  [[ $entry != ci-runner ]] || add_extras_of_command "$root" "$@"
  if ! is_fresh "$root" "$venv" "$entry" "${groups//,/ }" "${extras//,/ }"; then
    set_up "$root" "$venv" "$entry" "${groups//,/ }" "${extras//,/ }" "$@"
  fi
  exec "$venv/bin/$entry" "$@"
}

# Append to `extras` what the command among the words needs.
add_extras_of_command() {
  local root=$1 word command extra
  shift
  for word in "$@"; do
    [[ $word == -* ]] || break
  done
  [[ ${1-} != action ]] || word=action/${2-}/${3-} # scripts/action
  while read -r command extra; do
    [[ $command != "${word-}" ]] || extras="$extras $extra"
  done <"$root/scripts/bootstrap/extras.txt"
}

# Is the environment the one that the lock describes, with at least these groups and extras? One small process, no Python.
is_fresh() {
  local root=$1 venv=$2 entry=$3 groups=$4 extras=$5 stamp=$2/ci-runner-stamp
  local version stamped_root stamped_venv stamped_python stamped_groups stamped_extras name project stamped_project
  # a lock that is not empty: somebody is changing the environment, or was interrupted in that
  [[ -x $venv/bin/$entry && -x $venv/bin/python && ! -s $venv.lock ]] || return 1
  {
    IFS= read -r version && IFS= read -r stamped_root && IFS= read -r stamped_venv && IFS= read -r stamped_python &&
      IFS= read -r stamped_groups && IFS= read -r stamped_extras
  } 2>/dev/null <"$stamp/wanted" || return 1
  [[ $version == 1 && $stamped_root -ef $root && $stamped_venv -ef $venv ]] || return 1
  [[ $stamped_python == "${UV_PYTHON-}" ]] || return 1
  for name in "$venv"/lib/python3*/site-packages; do
    [[ ! $name -nt $stamp/wanted ]] || return 1 # someone else added or removed packages since
  done
  for name in $groups; do
    [[ " $stamped_groups " == *" $name "* ]] || return 1
  done
  for name in $extras; do
    [[ " $stamped_extras " == *" $name "* ]] || return 1
  done
  IFS= read -rd "" project <"$root/pyproject.toml" || true
  IFS= read -rd "" stamped_project 2>/dev/null <"$stamp/pyproject.toml" || true
  [[ $project == "$stamped_project" ]] && cmp -s "$root/uv.lock" "$stamp/uv.lock"
}

# Hand over to the Python half, which makes the environment and then becomes ENTRY.
set_up() {
  local found
  find_python
  exec "$found" -IB "$1/scripts/bootstrap" "$@"
}

# In a container that has no init: be it, and start as its child.
begin_as_first() {
  local found
  find_python
  # shellcheck disable=SC2016 # the words are for the inner shell
  exec "$found" -ISB "$1/scripts/bootstrap/init.py" "$BASH" -c \
    'set -euo pipefail; source "$1/scripts/bootstrap/start.sh"; start "$@"' start "$@"
}

# Set `found` to a Python that is new enough, else to one that can say that it is not.
find_python() {
  local name path
  found=
  for name in python3 python3.15 python3.14 python3.13 python3.12 python3.11 python; do
    path=$(type -P "$name") || continue
    if "$path" -ISc 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      found=$path
      break
    fi
    # too old, but new enough to say so
    [[ -n $found ]] || ! "$path" -ISc '' 2>/dev/null || found=$path
  done
  if [[ -z $found ]]; then
    echo 'ci-runner: error: python3 was not found on PATH' >&2
    echo 'fix: install Python 3.11 or newer (Debian, Ubuntu: apt-get install python3)' >&2
    exit 8
  fi
}
