#!/usr/bin/env bash
# Runs one suite with bash and coreutils alone: the legacy runner, and the fallback when the python runner breaks.
#
#   run_suite.sh PLAN                run the suite that PLAN describes
#   run_suite.sh --print-plan PLAN   print every key and value of PLAN, each ended by a NUL byte, and run nothing
#
# PLAN is a flat file of KEY=VALUE lines with percent-encoded values (docs/reference/shell-plan.md). It is read as
# data: nothing of it is sourced or evaluated, except the commands that the suite itself consists of.
#
# Exit codes: 0 all green, 1 tests failed, 2 usage or plan, 8 machine or setup, 9 results incomplete, 130 cancelled.
set -u

readonly OK=0 TESTS_FAILED=1 USAGE=2 MACHINE=8 INCOMPLETE=9 CANCELLED=130
readonly TAIL_BYTES=16384 IDS_AT_ONCE=500
readonly FIRST_TICK_MS=50 LAST_TICK_MS=500

plan_keys=() plan_values=()
suite='' cwd='' python='' command='' junit_dir='' status_file='' workers=''
timeout=0 setup_timeout=600 grace=10 shard='' own_junit=all allow_empty=no supervised=no
targets=() only=() setups=() pytest_args=() envs=()
scratch='' child='' killer='' cancelled='' unwritable=0
code=0 timed_out=0 has_results='' elapsed_ms=0 peak_bytes=0 started_ms=0
worst=$OK count=0 passed=0 failed=0 errored=0 xml='' junit_files=()

main() {
  if ((BASH_VERSINFO[0] < 4)); then
    die "$USAGE" "bash $BASH_VERSION is too old" 'use bash 4 or newer'
  fi
  case ${1-} in
    -h | --help)
      sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      return "$OK"
      ;;
    --print-plan)
      read_plan "${2-}"
      print_plan
      return "$OK"
      ;;
  esac
  (($# == 1)) || die "$USAGE" 'one plan file is needed' 'run_suite.sh PLAN; see run_suite.sh --help'
  read_plan "$1"
  started_ms=$(now_ms)
  trap 'cancel TERM' TERM
  trap 'cancel INT' INT
  trap 'cancel HUP' HUP
  trap 'rm -rf -- "$scratch"' EXIT
  prepare
  quiet_commands_on
  run_setups && run_tests
  quiet_commands_off
  write_junit
  write_status
  conclude
}

# --- the plan ---------------------------------------------------------------------------------------------------

read_plan() {
  local file=$1 line key value number=0 LC_ALL=C
  [[ -n $file && -f $file && -r $file ]] ||
    die "$USAGE" "the plan cannot be read: $(shown "$file")" 'name a file that ci_runner wrote'
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    [[ -z $line || $line == '#'* ]] && continue
    [[ $line == *=* ]] || bad_plan "$number" 'no KEY=VALUE'
    key=${line%%=*}
    decode "${line#*=}" || bad_plan "$number" 'a character that is not percent-encoded'
    value=$decoded
    if ((${#plan_keys[@]} == 0)); then
      [[ $key == shell-plan && $value == 1 ]] || bad_plan "$number" 'the first line must be shell-plan=1'
    else
      take "$key" "$value" "$number"
    fi
    plan_keys+=("$key")
    plan_values+=("$value")
  done <"$file"
  ((${#plan_keys[@]} > 0)) || bad_plan 1 'the file is empty'
  if [[ -z $command && ${#targets[@]} -eq 0 && ${#only[@]} -eq 0 ]]; then
    bad_plan "$number" 'neither target, only nor command: there is nothing to run'
  fi
}

decoded=''
decode() {
  local LC_ALL=C rest=${1//%[0-9A-Fa-f][0-9A-Fa-f]/}
  [[ $rest == *[!A-Za-z0-9_./:,@+=~-]* || $1 == *%00* ]] && return 1
  printf -v decoded '%b' "${1//%/\\x}"
}

take() {
  local key=$1 value=$2 number=$3
  case $key in
    suite) suite=$value ;;
    cwd) cwd=$value ;;
    python) python=$value ;;
    command) command=$value ;;
    junit_dir) junit_dir=$value ;;
    status) status_file=$value ;;
    workers) workers=$value ;;
    target) targets+=("$value") ;;
    only) only+=("$value") ;;
    setup) setups+=("$value") ;;
    pytest_arg) pytest_args+=("$value") ;;
    timeout | setup_timeout | grace)
      [[ $value =~ ^[0-9]{1,8}$ ]] || bad_plan "$number" "$key is whole seconds"
      printf -v "$key" '%d' "$((10#$value))"
      ;;
    own_junit)
      [[ $value == all || $value == missing ]] || bad_plan "$number" 'own_junit is all or missing'
      own_junit=$value
      ;;
    allow_empty | supervised)
      [[ $value == yes || $value == no ]] || bad_plan "$number" "$key is yes or no"
      printf -v "$key" '%s' "$value"
      ;;
    shard)
      if ! [[ $value =~ ^[1-9][0-9]{0,4}/[1-9][0-9]{0,4}$ ]] || ((${value%/*} > ${value#*/})); then
        bad_plan "$number" 'shard is I/N, with I from 1 to N'
      fi
      shard=$value
      ;;
    env)
      [[ $value =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || bad_plan "$number" 'env is NAME=VALUE'
      envs+=("$value")
      ;;
    *) bad_plan "$number" "$(shown "$key") is no key of a plan" ;;
  esac
}

bad_plan() {
  die "$USAGE" "line $1 of the plan: $2" 'write the plan with ci_runner.execution.shell_plan; see docs/reference/shell-plan.md'
}

print_plan() {
  local index
  for index in "${!plan_keys[@]}"; do
    printf '%s\0%s\0' "${plan_keys[index]}" "${plan_values[index]}"
  done
}

# --- before the tests -------------------------------------------------------------------------------------------

prepare() {
  if [[ -n $cwd ]]; then
    cd -- "$cwd" || die "$MACHINE" "the working folder is not there: $(shown "$cwd")" 'stage the commit first'
  fi
  [[ -n $junit_dir ]] || die "$USAGE" 'the plan names no junit_dir' 'add a line junit_dir=FOLDER'
  [[ $junit_dir == /* ]] || junit_dir=$PWD/$junit_dir
  [[ -z $status_file || $status_file == /* ]] || status_file=$PWD/$status_file
  if ! make_scratch 2>/dev/null; then
    die "$INCOMPLETE" "results cannot be written to $(shown "$junit_dir")" 'free space there, or name another folder'
  fi
  exec 7<>"$scratch/bell"
  [[ -n $command ]] && return
  command -v -- "$python" >/dev/null 2>&1 ||
    die "$MACHINE" "the interpreter for the tests is not there: $(shown "$python")" 'name one that is, with python='
}

make_scratch() {
  mkdir -p -- "$junit_dir" || return
  scratch=$junit_dir/.shell-runner.$$
  mkdir -- "$scratch" && mkfifo -- "$scratch/bell" && : >"$scratch/log"
}

run_setups() {
  local number=0 text
  for text in ${setups[@]+"${setups[@]}"}; do
    number=$((number + 1))
    guard "$setup_timeout" bash -c "$text"
    [[ -n $cancelled ]] && return 1
    if ((code != 0 || timed_out)); then
      say "setup command $number $(how_it_ended)"
      note_worst "$MACHINE"
      add_case "setup $number" error "setup command $number $(how_it_ended)"
      return 1
    fi
  done
}

# --- the tests --------------------------------------------------------------------------------------------------

run_tests() {
  if [[ -n $command ]]; then
    run_target command "$command" bash -c "$command"
    return
  fi
  local chosen=()
  if ((${#only[@]})); then
    chosen=("${only[@]}")
  elif [[ -n $shard && $shard != 1/1 ]]; then
    split_by_count || return
    chosen=(${part[@]+"${part[@]}"})
    ((${#chosen[@]})) || say "shard $shard holds no test: there are fewer tests than shards"
  else
    chosen=("${targets[@]}")
  fi
  ((${#chosen[@]})) && run_groups "${chosen[@]}"
}

# One process for each file: node ids of one file that stand together run together.
run_groups() {
  local group=() file='' target own
  for target in "$@"; do
    own=${target%%::*}
    if ((${#group[@]})) && [[ $own != "$file" || $target != *::* || ${#group[@]} -ge $IDS_AT_ONCE ]]; then
      run_group "${group[@]}"
      group=()
      [[ -n $cancelled ]] && return
    fi
    group+=("$target")
    file=$own
  done
  ((${#group[@]})) && run_group "${group[@]}"
}

run_group() {
  local paths=() target label=$1
  (($# > 1)) && label="${1%%::*} ($# tests)"
  for target in "$@"; do
    resolve "$target"
    if [[ $resolved_kind == unittest ]]; then
      run_target unittest "$target" "$python" -m unittest -v "$target"
      return
    fi
    paths+=("$resolved")
  done
  if ! has_pytest; then
    forget_last
    add_target_result "$label" error "pytest is missing in $(shown "$python"): install it there" "$MACHINE"
    return
  fi
  local arguments=(${pytest_args[@]+"${pytest_args[@]}"})
  [[ -n $workers ]] && arguments+=(-n "$workers")
  run_target pytest "$label" "$python" -m pytest ${arguments[@]+"${arguments[@]}"} \
    "--junitxml=$(junit_name)" "${paths[@]}"
}

# A dotted unittest name whose module is a file here becomes a node id, as in the python runner.
resolve() {
  local name=$1 module rest
  resolved=$name resolved_kind=pytest
  [[ $resolved == -* ]] && resolved=./$resolved
  [[ -e ${name%%::*} ]] && return
  [[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$ && $name != *.py ]] || return
  resolved_kind=unittest
  module=$name rest=''
  while :; do
    if [[ -f ${module//.//}.py ]]; then
      resolved="${module//.//}.py$rest" resolved_kind=pytest
      return
    fi
    [[ $module == *.* ]] || return
    rest="::${module##*.}$rest"
    module=${module%.*}
  done
}

pytest_known=''
has_pytest() {
  if [[ -z $pytest_known ]]; then
    pytest_known=no
    "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("pytest") is None)' \
      >/dev/null 2>&1 </dev/null && pytest_known=yes
  fi
  [[ $pytest_known == yes ]]
}

# Part I of N of the collected tests by position, the same as ci_runner.plan.shard.split_by_count.
split_by_count() {
  local ids=() paths=() line target index=${shard%/*} total=${shard#*/}
  part=()
  for target in "${targets[@]}"; do
    resolve "$target"
    paths+=("$resolved")
  done
  guard "$(seconds_left)" "$python" -m pytest ${pytest_args[@]+"${pytest_args[@]}"} \
    --collect-only --color=no --verbosity=-1 "${paths[@]}"
  [[ -n $cancelled ]] && return 1
  if ((code != 0 || timed_out)); then
    add_target_result 'collection' error "the tests could not be listed: it $(how_it_ended)" "$INCOMPLETE"
    return 1
  fi
  while IFS= read -r line && [[ -n $line ]]; do
    [[ $line == *::* ]] && ids+=("$line")
  done <"$scratch/log"
  ((total > ${#ids[@]})) && total=${#ids[@]}
  ((index > total)) && return
  local from=$((${#ids[@]} * (index - 1) / total)) to=$((${#ids[@]} * index / total))
  part=("${ids[@]:from:to-from}")
}

junit_name() {
  printf '%s/target-%04d.xml' "$junit_dir" $((count + 1))
}

run_target() {
  local kind=$1 label=$2 file
  shift 2
  if ((timeout)) && (($(seconds_left) == 0)); then
    forget_last
    add_target_result "$label" error "not started: the suite's timeout of $timeout s is over" "$INCOMPLETE"
    return
  fi
  file=$(junit_name)
  guard "$(seconds_left)" "$@"
  if [[ $kind == pytest && -s $file ]]; then
    junit_files+=("${file##*/}")
  fi
  if [[ $kind == pytest ]]; then
    is_whole "$file" && has_results=yes || has_results=no
  fi
  judge "$kind"
  if [[ $own_junit == missing ]] && tells_its_end "$kind"; then
    count_result "$label" "$target_result" "$target_exit"
    return
  fi
  add_target_result "$label" "$target_result" "$(how_it_ended)" "$target_exit"
}

# What the end of a target means: target_result (pass, failure or error) and target_exit.
judge() {
  local kind=$1
  target_result=error target_exit=$INCOMPLETE
  [[ -n $cancelled ]] && target_exit=$CANCELLED
  ((timed_out)) || [[ -n $cancelled ]] && return
  case $kind:$code:$has_results in
    pytest:0:yes | unittest:0:* | command:0:*) target_result=pass target_exit=$OK ;;
    pytest:1:yes | unittest:1:*) target_result=failure target_exit=$TESTS_FAILED ;;
    pytest:5:* | unittest:5:*) [[ $allow_empty == yes ]] && target_result=pass target_exit=$OK ;;
    command:126:* | command:127:*) target_exit=$MACHINE ;;
    command:*) ((code <= 128)) && target_result=failure target_exit=$TESTS_FAILED ;;
  esac
}

# A killed pytest leaves no file, or half of one.
is_whole() {
  [[ -s $1 && $(tail -c 64 -- "$1") == *'</testsuite'* ]]
}

# Whether the target's own results say how it ended, so that a case of ours would only count it twice.
tells_its_end() {
  case $1 in
    pytest) ((code < 5 && ! timed_out)) && [[ $has_results == yes ]] ;;
    command) [[ $target_result != error ]] ;;
    *) return 1 ;;
  esac
}

# --- one command under guard ------------------------------------------------------------------------------------

# Runs a command in a process group of its own, shows its output while it runs, ends it when the time is up.
# Sets code, timed_out and elapsed_ms; the output stays in $scratch/log until the next one.
guard() {
  local seconds=$1 begin minder
  shift
  forget_last
  if [[ -n $cancelled ]]; then
    code=143
    return
  fi
  if ((${#envs[@]})); then
    # shellcheck disable=SC2016 # the inner bash expands it; it stands between so that no argument looks like NAME=VALUE
    set -- env -- "${envs[@]}" bash -c 'exec "$@"' bash "$@"
  fi
  exec 8<"$scratch/log"
  begin=$(now_ms)
  set -m
  "$@" </dev/null >"$scratch/log" 2>&1 7>&- 8<&- &
  child=$!
  set +m
  mind "$child" "$seconds" &
  minder=$!
  [[ -n $cancelled ]] && end_child
  while :; do
    wait "$child" 2>/dev/null
    code=$?
    kill -0 "$child" 2>/dev/null || break
  done
  kill -s KILL -- "-$child" 2>/dev/null
  child=''
  elapsed_ms=$(($(now_ms) - begin))
  : >"$scratch/ended"
  echo >&7
  wait "$minder" 2>/dev/null
  if [[ -n $killer ]]; then
    kill "$killer" 2>/dev/null
    wait "$killer" 2>/dev/null
    killer=''
  fi
  cat <&8
  exec 8<&-
  [[ -e $scratch/timed-out ]] && timed_out=1
  local peak=0
  [[ -s $scratch/peak ]] && read -r peak <"$scratch/peak"
  ((peak > peak_bytes)) && peak_bytes=$peak
  return 0
}

forget_last() {
  code=0 timed_out=0 has_results='' elapsed_ms=0
  rm -f -- "$scratch/timed-out" "$scratch/peak" "$scratch/ended"
  : >"$scratch/log" || unwritable=1
  while read -r -t 0 -u 7; do read -r -u 7; done
}

# Copies output, measures memory and watches the clock until the command has ended. The bell only wakes it at once: bash
# loses a byte that arrives in the moment in which `read -t` gives up, so the file says whether it is time to stop.
mind() {
  local pid=$1 seconds=$2 tick=$FIRST_TICK_MS deadline=0 peak=0 phase=0 nap
  trap - TERM INT HUP EXIT
  ((seconds > 0)) && deadline=$(($(now_ms) + seconds * 1000))
  while :; do
    printf -v nap '%d.%03d' $((tick / 1000)) $((tick % 1000))
    IFS= read -r -t "$nap" -u 7 && break
    [[ -e $scratch/ended ]] && break
    cat <&8
    tree_bytes "$pid"
    ((bytes > peak)) && peak=$bytes && echo "$peak" >"$scratch/peak"
    if ((deadline > 0 && $(now_ms) >= deadline)); then
      : >"$scratch/timed-out"
      if ((phase == 0)); then
        kill -s TERM -- "-$pid" 2>/dev/null
        deadline=$((deadline + grace * 1000)) phase=1
      else
        kill -s KILL -- "-$pid" 2>/dev/null
      fi
    fi
    tick=$((tick * 2 > LAST_TICK_MS ? LAST_TICK_MS : tick * 2))
  done
}

insist() {
  trap - EXIT
  trap 'kill "$nap" 2>/dev/null; exit' TERM
  sleep "$grace" &
  local nap=$!
  wait "$nap"
  kill -s KILL -- "-$1" 2>/dev/null
}

cancel() {
  cancelled=${cancelled:-$1}
  [[ -n $child ]] && end_child
}

end_child() {
  kill -s "$cancelled" -- "-$child" 2>/dev/null
  if [[ -z $killer ]]; then
    insist "$child" &
    killer=$!
  fi
}

# Memory of a process and its descendants now, as the kernel tells it; 0 where there is no /proc.
bytes=0
tree_bytes() {
  local queue=("$1") pid key value children
  bytes=0
  while ((${#queue[@]})); do
    pid=${queue[0]} queue=("${queue[@]:1}")
    while read -r key value _; do
      [[ $key == VmRSS: ]] && bytes=$((bytes + value * 1024)) && break
    done 2>/dev/null <"/proc/$pid/status"
    children=''
    read -r children 2>/dev/null <"/proc/$pid/task/$pid/children"
    # shellcheck disable=SC2206 # the kernel writes numbers and spaces
    queue+=($children)
  done 2>/dev/null
}

seconds_left() {
  ((timeout == 0)) && echo 0 && return
  local left=$((timeout * 1000 - $(now_ms) + started_ms))
  echo $((left > 0 ? (left + 999) / 1000 : 0))
}

now_ms() {
  local micros=${EPOCHREALTIME-}
  if [[ -n $micros ]]; then
    micros=${micros/[.,]/}
    echo "${micros%???}"
  else
    echo "$(date +%s)000"
  fi
}

how_it_ended() {
  if ((timed_out)); then
    echo "took longer than its timeout and was ended after $(seconds "$elapsed_ms") s"
  elif [[ -n $cancelled ]]; then
    echo "was cancelled by SIG$cancelled after $(seconds "$elapsed_ms") s"
  elif ((code == 5)) && [[ -z $command ]]; then
    echo 'collected no tests'
  elif ((code > 128)); then
    echo "was ended by signal $((code - 128))"
  else
    local left=''
    [[ $has_results == no ]] && left=' and left no whole results'
    echo "ended with exit code $code$left"
  fi
}

# --- results ----------------------------------------------------------------------------------------------------

add_target_result() {
  count_result "$1" "$2" "$4"
  add_case "$1" "$2" "$3"
}

count_result() {
  count=$((count + 1))
  case $2 in
    pass) passed=$((passed + 1)) ;;
    failure) failed=$((failed + 1)) ;;
    *) errored=$((errored + 1)) ;;
  esac
  note_worst "$3"
  say "$(shown "$1"): $2, $(seconds "$elapsed_ms") s"
}

note_worst() {
  local candidate
  for candidate in "$CANCELLED" "$MACHINE" "$INCOMPLETE" "$TESTS_FAILED"; do
    if (($1 == candidate || worst == candidate)); then
      worst=$candidate
      return
    fi
  done
}

add_case() {
  local name=$1 result=$2 text=$3 output=''
  [[ -f $scratch/log ]] && output=$(tail -c "$TAIL_BYTES" -- "$scratch/log" | printable && echo .)
  output=${output%.}
  escape "$suite"
  local classname=$escaped
  escape "$name"
  xml+="  <testcase classname=\"shell_fallback.$classname\" name=\"$escaped\" time=\"$(seconds "$elapsed_ms")\">"
  escape "$text"
  local message=$escaped
  escape "$output"
  case $result in
    pass) xml+="<system-out>$escaped</system-out>" ;;
    failure) xml+="<failure message=\"$message\">$escaped</failure>" ;;
    *) xml+="<error message=\"$message\">$escaped</error>" ;;
  esac
  xml+=$'</testcase>\n'
  case_counts[$result]=$((${case_counts[$result]:-0} + 1))
}
declare -A case_counts=()

# Text as XML can hold it: no control characters, and UTF-8 or ASCII.
printable() {
  LC_ALL=C tr -d '\000-\010\013-\037\177' | if command -v iconv >/dev/null 2>&1; then
    iconv -c -f UTF-8 -t UTF-8 2>/dev/null
    true
  else
    LC_ALL=C tr '\200-\377' '?'
  fi
}

escape() {
  local LC_ALL=C amp='&amp;' lt='&lt;' gt='&gt;' quot='&quot;' nl='&#10;' tab='&#9;'
  escaped=$(printf '%s.' "$1" | printable)
  escaped=${escaped%.}
  escaped=${escaped//$'\xef\xbf\xbe'/}
  escaped=${escaped//$'\xef\xbf\xbf'/}
  escaped=${escaped//&/"$amp"}
  escaped=${escaped//</"$lt"}
  escaped=${escaped//>/"$gt"}
  escaped=${escaped//\"/"$quot"}
  escaped=${escaped//$'\n'/"$nl"}
  escaped=${escaped//$'\t'/"$tab"}
}

write_junit() {
  [[ -n $xml ]] || return
  local fails=${case_counts[failure]:-0} errors=${case_counts[error]:-0}
  local tests=$((${case_counts[pass]:-0} + fails + errors))
  escape "$suite"
  {
    printf '<?xml version="1.0" encoding="UTF-8"?>\n'
    printf '<testsuites><testsuite name="%s" tests="%d" failures="%d" errors="%d" skipped="0" time="%s">\n' \
      "$escaped" "$tests" "$fails" "$errors" "$(seconds $(($(now_ms) - started_ms)))"
    printf '%s' "$xml"
    printf '</testsuite></testsuites>\n'
  } 2>/dev/null >"$scratch/junit" && mv -f -- "$scratch/junit" "$junit_dir/shell-runner.xml" || unwritable=1
  junit_files+=(shell-runner.xml)
}

write_status() {
  [[ -n $status_file ]] || return
  measure_cpu
  local name exit_code=$worst
  [[ -n $cancelled ]] && exit_code=$CANCELLED
  ((unwritable && exit_code <= TESTS_FAILED)) && exit_code=$INCOMPLETE
  {
    printf 'shell-status=1\ntargets=%d\npassed=%d\nfailed=%d\nerrored=%d\n' "$count" "$passed" "$failed" "$errored"
    printf 'duration_seconds=%s\ncpu_seconds=%s\n' "$(seconds $(($(now_ms) - started_ms)))" "$(seconds "$cpu_ms")"
    ((peak_bytes)) && printf 'peak_memory_bytes=%d\n' "$peak_bytes"
    [[ -n $cancelled ]] && printf 'cancelled=%s\n' "$cancelled"
    for name in ${junit_files[@]+"${junit_files[@]}"}; do
      printf 'junit=%s\n' "$name"
    done
    printf 'exit_code=%d\n' "$exit_code" # last: whoever finds it knows that the file is whole
  } 2>/dev/null >"$scratch/status" && cat -- "$scratch/status" 2>/dev/null >"$status_file" || unwritable=1
}

# User and system time of all commands so far; `times` tells the children's in its second line, to this very shell.
cpu_ms=0
measure_cpu() {
  local line word minutes rest
  times >"$scratch/times"
  { read -r _ && read -r line; } <"$scratch/times"
  for word in $line; do
    minutes=${word%%m*} rest=${word#*m}
    rest=${rest%s}
    rest=${rest/[.,]/}
    cpu_ms=$((cpu_ms + minutes * 60000 + 10#$rest))
  done
}

seconds() {
  printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
}

conclude() {
  if [[ -n $cancelled ]]; then
    say "cancelled by SIG$cancelled"
    return "$CANCELLED"
  fi
  if ((unwritable && worst <= TESTS_FAILED)); then
    printf 'run_suite: error: results could not be written\nfix: free space on the disk, or name another folder\n' >&2
    return "$INCOMPLETE"
  fi
  return "$worst"
}

# --- words ------------------------------------------------------------------------------------------------------

# In a workflow of GitHub what a test prints must not be taken for commands of the workflow.
quiet_token=''
quiet_commands_on() {
  [[ ${GITHUB_ACTIONS-} == true && $supervised == no ]] || return 0
  quiet_token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  printf '::stop-commands::%s\n' "$quiet_token"
}

quiet_commands_off() {
  [[ -z $quiet_token ]] || printf '\n::%s::\n' "$quiet_token"
}

shown() {
  printf '%q' "$1"
}

say() {
  printf 'shell runner: %s\n' "$1"
}

die() {
  printf 'run_suite: error: %s\nfix: %s\n' "$2" "$3" >&2
  exit "$1"
}

main "$@"
