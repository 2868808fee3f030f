# shellcheck shell=bash
# Settings that the other scripts read: source of every name they use. Set them in the environment, or edit a copy of
# this file and name it in TPU_SETTINGS. Sourced, not run.

: "${TPU_NAME:=jaxreason}"                       # of the TPU VM and of its queued resource
: "${TPU_SLICE:=v5p-64}"                         # as `jaxreason plan --slice` takes it; 2xv5p-64 is two slices
: "${TPU_ZONE:=us-east5-a}"
: "${TPU_PROJECT:=$(gcloud config get-value project 2>/dev/null)}"
: "${TPU_VERSION:=}"                             # runtime version; empty: the one for the generation
: "${TPU_SPOT:=yes}"                             # yes: spot capacity, which may be taken away
: "${TPU_SOURCE:=https://github.com/your-name/jaxreason.git}"
: "${TPU_REVISION:=main}"
: "${TPU_WORKDIR:=gs://your-bucket/runs/run}"    # the hosts of a slice share no disk
: "${TPU_COMMAND:=jaxreason sft --config configs/sft_qwen3_14b_think.py:${TPU_SLICE}}"

tpu_fail() {
  echo "$0: $*" >&2
  exit 2
}

# 2xv5p-64 -> 2 and v5p-64; v5e-16 -> v5litepod-16, Cloud TPU's own name of it.
tpu_count() { case "$TPU_SLICE" in [0-9]*x*) echo "${TPU_SLICE%%x*}" ;; *) echo 1 ;; esac }
tpu_type() {
  local one="$TPU_SLICE"
  case "$one" in [0-9]*x*) one="${one#*x}" ;; esac
  case "$one" in
    v5e-*) echo "v5litepod-${one#v5e-}" ;;
    v4-* | v5p-* | v6e-* | v5litepod-*) echo "$one" ;;
    tpu7x-*) tpu_fail "TPU_SLICE=$TPU_SLICE: TPU7x is rented through GKE; see tpu/gke.yaml" ;;
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

# tpu_gcloud queued-resources list …: with project and zone.
tpu_gcloud() {
  command -v gcloud >/dev/null || tpu_fail "gcloud is needed: https://cloud.google.com/sdk/docs/install"
  [ -n "$TPU_PROJECT" ] || tpu_fail "TPU_PROJECT is empty and gcloud has no project set"
  gcloud compute tpus "$@" --project="$TPU_PROJECT" --zone="$TPU_ZONE"
}

# The state of the queued resource (ACTIVE, WAITING_FOR_RESOURCES, SUSPENDED …), or NONE.
tpu_state() {
  tpu_gcloud queued-resources describe "$TPU_NAME" --format='value(state.state)' 2>/dev/null || echo NONE
}

# What the command is doing on the hosts: "running" while any runs, "none" where one has not ended by itself (a new
# host, one that was started again), else "exit CODE", 0 if it is 0 everywhere, 2 if it is 2 anywhere. Fails if a host
# cannot be reached.
tpu_status() {
  local lines codes
  lines="$(tpu_ssh "cd jaxreason 2>/dev/null || { echo status none; exit 0; }
    if [ -f run.pid ] && kill -0 \"\$(cat run.pid)\" 2>/dev/null; then echo status running
    elif [ -f run.exit ]; then echo status exit \$(cat run.exit)
    else echo status none; fi" | grep -o 'status .*')" || return 1
  case "$lines" in
    *running*) echo running ;;
    *none*) echo none ;;
    *)
      codes="$(sort -un <<<"${lines//status exit /}")"
      case $'\n'"$codes"$'\n' in
        *$'\n2\n'*) echo exit 2 ;;
        *) echo "exit $(tail -n 1 <<<"$codes")" ;;
      esac
      ;;
  esac
}

# tpu_ssh COMMAND: on all hosts of all slices at once; fails if any fails.
tpu_ssh() {
  local node failed=0 pids=()
  for node in $(tpu_nodes); do
    tpu_gcloud tpu-vm ssh "$node" --worker=all --command="$1" &
    pids+=("$!")
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  return "$failed"
}
