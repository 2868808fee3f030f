#!/usr/bin/env bash
# Runs on each host of a slice, from the checkout there, for the other scripts. It is not called by hand.
#   host.sh idle                    fails while a run goes on
#   host.sh install                 jaxreason and what it needs, into .venv
#   host.sh start RUN COMMAND       detached; a run of that name that still goes on is left alone
#   host.sh status RUN              one line: `status running`, `status exit CODE` or `status none`
#   host.sh stop                    ends the run
#   host.sh log LINES               the end of its log
set -euo pipefail
cd "$(dirname "$0")/.."

# Only one process at a time may hold these: the chips, and the lock file of libtpu.
: "${TPU_HELD:=/dev/accel[0-9]* /dev/vfio/[0-9]* /tmp/libtpu_lockfile}"
secrets="$HOME/.jaxreason_secrets"

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

lives() { # the run of that name; the number alone may be another process's after the host was started again
  local pid
  pid="$(cat run.pid 2>/dev/null)" || return 1
  { tr '\0' '\n' <"/proc/$pid/environ" | grep -qx "JAXREASON_RUN=$1"; } 2>/dev/null
}

# Two that resume a run at once would both find that nothing runs yet, and both start it.
in_turn() {
  exec 9>>run.lock
  flock 9
}

install() {
  in_turn
  idle
  chmod 600 "$secrets" 2>/dev/null || true
  if [ ! -x .venv/bin/pip ]; then # or a part of one, if that was cut off
    rm -rf .venv
    if python3 -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
      python3 -m venv .venv
    else # Ubuntu 22.04 has 3.10
      python3 -m pip install --quiet --user uv
      python3 -m uv venv --quiet --seed --python 3.12 .venv
    fi
  fi
  .venv/bin/pip install --quiet --upgrade pip
  .venv/bin/pip install --quiet -e '.[tpu]'
  .venv/bin/python -c 'import jaxreason, jax; print("jax", jax.__version__)'
}

idle() {
  local run
  run="$(cat run.id 2>/dev/null || true)"
  if [ -n "$run" ] && lives "$run"; then
    echo "$(hostname): a command is running as $(cat run.pid); tpu/stop.sh ends it" >&2
    return 3
  fi
}

holders() {
  local pattern patterns arguments=()
  read -ra patterns <<<"$TPU_HELD" # find's to read, not the shell's
  for pattern in "${patterns[@]}"; do arguments+=(-o -lname "$pattern"); done
  as_root find /proc/[0-9]*/fd -maxdepth 1 \( "${arguments[@]:1}" \) 2>/dev/null | cut -d / -f 3 | sort -u
}

free_chips() {
  local pids signal tries
  for signal in TERM KILL; do
    for tries in 1 2 3 4 5 6 7 8 9 10; do
      pids="$(holders || true)"
      [ -n "$pids" ] || break 2
      if [ "$tries" = 1 ]; then
        echo "$(hostname): ending what holds the chips: $(tr '\n' ' ' <<<"$pids")"
        # shellcheck disable=SC2086 # one word a process
        as_root kill -s "$signal" $pids 2>/dev/null || true
      fi
      sleep 0.5
    done
  done
  for word in $TPU_HELD; do
    case "$word" in */libtpu_lockfile) as_root rm -f "$word" ;; esac
  done
}

start() {
  local run="$1" command="$2" name
  in_turn
  if [ "$(cat run.id 2>/dev/null)" = "$run" ] && lives "$run"; then
    echo "$(hostname): still running as $(cat run.pid)"
    return
  fi
  idle
  free_chips
  # Variables of an earlier slice: the metadata of the present one say what there is.
  for name in $(compgen -A export MEGASCALE_ || true); do unset "$name"; done
  if [ -f "$secrets" ]; then
    set -a
    # shellcheck source=/dev/null
    source "$secrets"
    set +a
  fi
  export JAXREASON_RUN="$run" PATH="$PWD/.venv/bin:$PATH"
  mkdir -p logs
  rm -f run.exit
  echo "$run" >run.id
  # The command handles a signal itself; the shells around it wait until it ends.
  # shellcheck disable=SC2016 # read by the inner shell
  nohup setsid bash -c 'trap : TERM
    bash -c "trap : TERM; $1"
    code=$?
    echo "exit code $code"
    echo "$code" >run.exit.new && mv run.exit.new run.exit' run "$command" >>logs/run.log 2>&1 </dev/null 9>&- &
  echo "$!" >run.pid
  # Until it has its variables, by which the next one in turn knows it.
  while kill -0 "$!" 2>/dev/null && ! lives "$run"; do sleep 0.05; done
  echo "$(hostname): started as $(cat run.pid)"
}

status() {
  if [ "$(cat run.id 2>/dev/null)" != "$1" ]; then
    echo status none
  elif lives "$1"; then
    echo status running
  elif [ -f run.exit ]; then
    echo "status exit $(cat run.exit)"
  else # the host was started again
    echo status none
  fi
}

stop() {
  if idle 2>/dev/null; then
    echo "$(hostname): nothing runs"
  else
    kill -s TERM -- "-$(cat run.pid)"
    echo "$(hostname): told to stop; it saves first"
  fi
}

case "${1:-}" in
  idle) idle ;;
  install) install ;;
  start) start "$2" "$3" ;;
  status) status "$2" ;;
  stop) stop ;;
  log)
    hostname
    if [ -f logs/run.log ]; then tail -n "$2" logs/run.log; else echo "no command was started here"; fi
    ;;
  *)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    [[ "${1:-}" = --help ]] || exit 2
    ;;
esac
