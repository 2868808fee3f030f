# shellcheck shell=bash
# Settings of the other scripts: every name that they use is declared here. Set them in the environment, or edit a copy of
# this file and name it in TPU_SETTINGS. This file is sourced, not run.

: "${TPU_NAME:=jaxreason}"                       # of the TPU VM and of its queued resource, or of the job on GKE
: "${TPU_SLICE:=v5p-64}"                         # as `jaxreason plan --slice` takes it; 2xv5p-64 is two slices
: "${TPU_ZONE:=us-east5-a}"
: "${TPU_PROJECT:=}"                             # empty: the one that gcloud has set
: "${TPU_VERSION:=}"                             # runtime version; empty: the one for the generation
: "${TPU_SPOT:=yes}"                             # yes: spot capacity, which may be taken away
: "${TPU_SOURCE:=https://github.com/your-name/jaxreason.git}"
: "${TPU_REVISION:=main}"
: "${TPU_WORKDIR:=gs://your-bucket/runs/study}"  # the hosts of a slice share no disk
: "${TPU_COMMAND:=jaxreason study --config configs/study_qwen3_14b.py:${TPU_SLICE}}"
: "${TPU_SECRETS:=HF_TOKEN WANDB_API_KEY}"       # variables that the hosts get in a file, where they are set here
: "${TPU_POLL_SECONDS:=120}"                     # between two looks of resume.sh
: "${TPU_IMAGE:=IMAGE}"                          # on GKE: made by tpu/Dockerfile, target tpu
: "${TPU_SERVICE_ACCOUNT:=jaxreason}"            # on GKE: Kubernetes' own, with access to the bucket

# shellcheck disable=SC2034 # read by the scripts
TPU_HOST="jaxreason/tpu/host.sh" # on a host
TPU_NEEDS=gcloud
TPU_DRY=no
TPU_ARGUMENTS=()
TPU_TAKES=0 # words beside flags, at most
TPU_FLAGS="" # a flag of this script's own

tpu_fail() { # one line, exit 2: trying again would not help
  echo "${0##*/}: $*" >&2
  exit 2
}
tpu_stop() { # one line, exit 1: it may help
  echo "${0##*/}: $*" >&2
  exit 1
}

# tpu_begin "$@": --help prints the head of the script; --dry-run prints commands instead of running them; other arguments
# that the script knows go into TPU_ARGUMENTS. The rest is refused: a mistyped --dry-run must not rent, run or delete.
tpu_begin() {
  while [ $# -gt 0 ]; do
    case "$1" in
      -h | --help)
        sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
      --dry-run)
        TPU_DRY=yes
        exec 3>&1 # where it prints, also from within $(…)
        ;;
      "${TPU_FLAGS:---help}") TPU_ARGUMENTS+=("$1") ;;
      -*) tpu_fail "$1: no such flag; --help tells which there are" ;;
      *)
        TPU_TAKES=$((TPU_TAKES - 1))
        [ "$TPU_TAKES" -ge 0 ] || tpu_fail "$1: not expected here; --help tells what is (a command is one word, in quotes)"
        TPU_ARGUMENTS+=("$1")
        ;;
    esac
    shift
  done
  if [ "$TPU_DRY" = no ] && ! command -v "$TPU_NEEDS" >/dev/null; then
    tpu_fail "$TPU_NEEDS is needed: https://cloud.google.com/sdk/docs/install"
  fi
  [[ "$TPU_NAME" =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] ||
    tpu_fail "TPU_NAME=$TPU_NAME: expected lower-case letters, digits and dashes, a letter first"
  [[ "$TPU_SLICE" =~ ^([1-9][0-9]*x)?[a-z][a-z0-9]*-[1-9][0-9]*$ ]] ||
    tpu_fail "TPU_SLICE=$TPU_SLICE: expected v4-, v5e-, v5p- or v6e- and a number, 2xv5p-64 for two (jaxreason plan lists them)"
  [[ "$TPU_SPOT" =~ ^(yes|no)$ ]] || tpu_fail "TPU_SPOT=$TPU_SPOT: expected yes or no"
  [[ "$TPU_POLL_SECONDS" =~ ^[0-9]+(\.[0-9]+)?$ ]] || tpu_fail "TPU_POLL_SECONDS=$TPU_POLL_SECONDS: expected a number"
  [[ " $TPU_SECRETS " =~ ^\ *([A-Za-z_][A-Za-z_0-9]*\ +)*$ ]] ||
    tpu_fail "TPU_SECRETS=$TPU_SECRETS: expected names of variables with spaces between them"
}

# Before anything is rented: without it no host can be set up.
tpu_source() {
  case "$TPU_SOURCE" in
    *//github.com/your-name/*) tpu_fail "TPU_SOURCE is not set: expected a git URL that the hosts can read" ;;
  esac
  [ "$TPU_DRY" = yes ] || tpu_revision
}

# A revision that the source does not have fails on every host, however often it is tried. Where the source cannot be asked
# from here, the hosts may still read it.
tpu_revision() {
  local names
  [[ ! "$TPU_REVISION" =~ ^([0-9a-f]{40}|[0-9a-f]{64})$ ]] || return 0 # a commit
  names="$(GIT_TERMINAL_PROMPT=0 timeout 20 git ls-remote -- "$TPU_SOURCE" 2>/dev/null </dev/null)" || return 0
  cut -f 2 <<<"$names" |
    grep -qxF -e "$TPU_REVISION" -e "refs/$TPU_REVISION" -e "refs/heads/$TPU_REVISION" -e "refs/tags/$TPU_REVISION" ||
    tpu_fail "TPU_REVISION=$TPU_REVISION: $TPU_SOURCE has no such branch or tag (of a commit, give all 40 digits)"
}

# Quotes a word so that any POSIX shell reads it back unchanged.
tpu_quote() {
  case "$1" in
    "" | *[!A-Za-z0-9_./:=@%+,-]*) printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")" ;;
    *) printf '%s' "$1" ;;
  esac
}

# tpu_do WORD…: runs the command, or prints it.
tpu_do() {
  local word line=()
  if [ "$TPU_DRY" = no ]; then
    "$@"
    return
  fi
  for word in "$@"; do line+=("$(tpu_quote "$word")"); done
  echo "${line[*]}" >&3
}

# tpu_gcloud queued-resources list …: with project and zone.
tpu_gcloud() {
  local where=(--zone="$TPU_ZONE")
  [ -z "$TPU_PROJECT" ] || where=(--project="$TPU_PROJECT" "${where[@]}")
  tpu_do gcloud compute tpus "$@" "${where[@]}"
}

# 2xv5p-64 -> 2 and v5p-64; v5e-16 -> v5litepod-16, Cloud TPU's own name of it.
tpu_count() { case "$TPU_SLICE" in [0-9]*x*) echo "${TPU_SLICE%%x*}" ;; *) echo 1 ;; esac }
tpu_one() { case "$TPU_SLICE" in [0-9]*x*) echo "${TPU_SLICE#*x}" ;; *) echo "$TPU_SLICE" ;; esac }
tpu_type() {
  local one
  one="$(tpu_one)"
  case "$one" in
    v5e-*) echo "v5litepod-${one#v5e-}" ;;
    v4-* | v5p-* | v6e-* | v5litepod-*) echo "$one" ;;
    tpu7x-*) tpu_fail "TPU_SLICE=$TPU_SLICE: TPU7x is rented through GKE; see tpu/gke.sh" ;;
    *) tpu_fail "TPU_SLICE=$TPU_SLICE: expected v4-, v5e-, v5p- or v6e- and a number (jaxreason plan lists them)" ;;
  esac
}
tpu_version() {
  if [ -n "$TPU_VERSION" ]; then
    echo "$TPU_VERSION"
    return
  fi
  case "$(tpu_type)" in
    v4-*) echo tpu-ubuntu2204-base ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
  esac
}

# The names of the TPU VMs: one, or NAME-0, NAME-1 … for several slices.
tpu_nodes() {
  local count
  count="$(tpu_count)"
  if [ "$count" = 1 ]; then
    echo "$TPU_NAME"
  else
    seq -f "$TPU_NAME-%g" 0 $((count - 1))
  fi
}

# Prints the line of gcloud's output that says what is wrong.
tpu_error() { grep -m 1 ERROR <<<"$1" || tail -n 1 <<<"$1"; }

# tpu_told KIND NAME: the state of a queued resource or a TPU VM as Google reports it (ACTIVE, SUSPENDED, PREEMPTED …);
# NONE if there is none; UNKNOWN, with the reason on standard error, if Google cannot be asked. In a dry run there is none.
tpu_told() {
  local key=state said
  [ "$1" = queued-resources ] && key=state.state
  if [ "$TPU_DRY" = yes ]; then
    tpu_gcloud "$1" describe "$2" --format="value($key)"
    echo NONE
  elif said="$(tpu_gcloud "$1" describe "$2" --format="value($key)" 2>&1)"; then
    tail -n 1 <<<"$said"
  elif grep -q NOT_FOUND <<<"$said"; then # Google's word; "not found" may be gcloud's own, of what it needs
    echo NONE
  else
    tpu_error "$said" >&2
    echo UNKNOWN
  fi
}
tpu_state() { tpu_told queued-resources "$TPU_NAME"; }

# The whole command: it gets the working directory, unless it names one itself or is of a verb that takes none.
tpu_command() {
  local command="${1:-$TPU_COMMAND}" name value secret=no verbs runs own
  case "$command" in *_TOKEN=* | *_API_KEY=* | *PASSWORD=* | *api_key[=\ ]*) secret=yes ;; esac
  for name in $TPU_SECRETS; do
    value="${!name:-}"
    [ "${#value}" -ge 8 ] || value="$name=" # a shorter one may be a word of any command
    case "$command" in *"$name="* | *"$value"*) secret=yes ;; esac
  done
  [ "$secret" = no ] ||
    tpu_fail "the command holds a secret, which ps and logs would show: set it in the environment and name it in TPU_SECRETS"
  case "$TPU_WORKDIR" in
    gs://your-bucket/*) tpu_fail "TPU_WORKDIR is not set: expected gs://bucket/folder" ;;
    gs://*) ;;
    *) tpu_fail "TPU_WORKDIR=$TPU_WORKDIR: expected gs://bucket/folder, which all hosts can reach" ;;
  esac
  verbs="$(grep -oE 'jaxreason +[a-z-]+' <<<"$command" | sed 's/.* //')" || true
  runs="$(grep -cvxE 'serve|chat|check|show|status|' <<<"$verbs")" || true
  own="$(grep -oE -- '--(workdir|target)[ =]' <<<"$command" | grep -c '')" || true
  # Of several commands only the last one would get it.
  [ "$runs" -lt 2 ] || [ "$own" -ge "$runs" ] ||
    tpu_fail "the command runs jaxreason $runs times: give each of them its own --workdir gs://bucket/folder"
  case "$own $(tail -n 1 <<<"$verbs")" in
    "0 serve" | "0 chat" | "0 check" | "0 show" | "0 status")
      [ "$runs" = 0 ] || tpu_fail "the command does not end with what it runs: give that a --workdir gs://bucket/folder"
      echo "$command"
      ;;
    "0 "*) echo "$command --workdir $(tpu_quote "$TPU_WORKDIR")" ;;
    *) echo "$command" ;;
  esac
}

# The working directory of a whole command: the one that it names itself, else TPU_WORKDIR.
tpu_place() {
  local own
  own="$(xargs printf '%s\n' <<<"$1" 2>/dev/null | sed -n 's/^--workdir=//p; /^--workdir$/{n;p;}' | tail -n 1)" || own=""
  own="${own:-$TPU_WORKDIR}"
  echo "${own%/}"
}

# The name of a run, made from its whole command and the code: it tells the end of this run from that of another.
tpu_run() { printf '%s\n' "$1" "$TPU_SOURCE" "$TPU_REVISION" | cksum | tr -c '0-9\n' -; }

# tpu_ssh COMMAND: on all hosts of all slices at once; fails if any fails.
tpu_ssh() {
  local node failed=0 pids=()
  for node in $(tpu_nodes); do
    if [ "$TPU_DRY" = yes ]; then
      tpu_gcloud tpu-vm ssh "$node" --worker=all --command="$1"
    else
      tpu_gcloud tpu-vm ssh "$node" --worker=all --command="$1" &
      pids+=("$!")
    fi
  done
  [ "$TPU_DRY" = no ] || return 0
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  return "$failed"
}
