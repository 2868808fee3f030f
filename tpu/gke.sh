#!/usr/bin/env bash
# Runs any verb on GKE: a JobSet with a job for each slice and a pod for each host, made from the settings (settings.sh).
#   gke.sh [--dry-run] [--help] [apply ['jaxreason VERB …']]     --dry-run prints the manifest and what kubectl is asked
#   gke.sh status | logs | delete
# If a pod is evicted or fails, all pods of the job start again and continue from the last checkpoint in TPU_WORKDIR.
# A recipe that is refused (exit code 2) ends the job. The cluster needs JobSet 0.6 or newer and a node pool of that slice.
set -euo pipefail
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$(dirname "$0")/settings.sh}"
TPU_NEEDS=kubectl
TPU_TAKES=2
tpu_begin "$@"

if [ "${TPU_ARGUMENTS[0]:-apply}" != apply ] && [ -n "${TPU_ARGUMENTS[1]:-}" ]; then
  tpu_fail "${TPU_ARGUMENTS[1]}: not expected here; --help tells what is"
fi

selector="jobset.sigs.k8s.io/jobset-name=$TPU_NAME"

yaml() { # a text as YAML and JSON write it
  local text="$1"
  text="$(printf '%s' "$text" | sed 's/\\/\\\\/g; s/"/\\"/g')"
  printf '"%s"' "${text//$'\n'/\\n}"
}

# accelerator, topology and hosts of one slice: GKE's label, as jaxreason plan lists it, and four chips a host.
place() {
  local one kind chips flat cube label
  one="$(tpu_one)"
  kind="${one%%-*}"
  chips="${one##*-}"
  case "$kind" in v4 | v5p | tpu7x) chips=$((chips % 2 ? 0 : chips / 2)) ;; esac # their names count cores
  case "$chips" in
    1) flat=1x1 ;; 4) flat=2x2 cube=2x2x1 ;; 8) flat=2x4 cube=2x2x2 ;; 16) flat=4x4 cube=2x2x4 ;;
    32) flat=4x8 cube=2x4x4 ;; 64) flat=8x8 cube=4x4x4 ;; 128) flat=8x16 cube=4x4x8 ;; 256) flat=16x16 cube=4x8x8 ;;
    512) cube=8x8x8 ;; 1024) cube=8x8x16 ;; 2048) cube=8x16x16 ;; 4096) cube=16x16x16 ;;
  esac
  case "$kind" in
    v4) label="tpu-v4-podslice ${cube:-}" ;;
    v5e | v5litepod) label="tpu-v5-lite-podslice ${flat:-}" ;;
    v5p) label="tpu-v5p-slice ${cube:-}" ;;
    v6e) label="tpu-v6e-slice ${flat:-}" ;;
    tpu7x) label="tpu7x ${cube:-}" ;;
  esac
  case "${label:- }" in *" ") tpu_fail "TPU_SLICE=$TPU_SLICE: there is no such slice (jaxreason plan lists them)" ;; esac
  if [ "$chips" -lt 4 ]; then echo "$label 1 $chips"; else echo "$label $((chips / 4)) 4"; fi
}

# A pod's shell becomes the command, so that it gets the signals: what follows a first one would never run.
one_command() {
  case "$(sed "s/'[^']*'//g; s/\"[^\"]*\"//g" <<<"$1")" in
    *[\;\&\|]* | *$'\n'*) tpu_fail "$1: a pod runs one command; put several into a script of the image" ;;
  esac
}

manifest() {
  local command accelerator topology hosts chips slices spot=""
  command="$(tpu_command "${TPU_ARGUMENTS[1]:-}")"
  one_command "${TPU_ARGUMENTS[1]:-$TPU_COMMAND}"
  if [[ $command =~ ^[A-Za-z_][A-Za-z_0-9]*= ]]; then command="env $command"; fi # exec takes no assignments
  slices="$(tpu_count)"
  place >/dev/null # says what is wrong
  read -r accelerator topology hosts chips < <(place)
  [ "$TPU_SPOT" != yes ] || spot="
                cloud.google.com/gke-spot: \"true\""
  cat <<MANIFEST
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $TPU_NAME
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool # a slice has a node pool
spec:
  failurePolicy:
    maxRestarts: 1000
    rules:
      - name: refused
        action: FailJobSet
        onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
    - name: slice
      replicas: $slices
      template:
        spec:
          parallelism: $hosts # hosts of one slice
          completions: $hosts
          completionMode: Indexed
          backoffLimit: 0 # one pod alone cannot go on: JobSet starts all again
          podFailurePolicy:
            rules:
              - action: FailJob # the recipe is refused: starting again would not help
                onExitCodes:
                  containerName: jaxreason
                  operator: In
                  values: [2]
          template:
            spec:
              restartPolicy: Never
              serviceAccountName: $(yaml "$TPU_SERVICE_ACCOUNT")
              terminationGracePeriodSeconds: 300 # to save in
              hostNetwork: true
              dnsPolicy: ClusterFirstWithHostNet
              nodeSelector:
                cloud.google.com/gke-tpu-accelerator: $accelerator
                cloud.google.com/gke-tpu-topology: $topology$spot
              tolerations:
                - key: cloud.google.com/gke-spot
                  operator: Exists
              containers:
                - name: jaxreason
                  image: $(yaml "$TPU_IMAGE")
                  command: [bash, -c]
                  args:
                    - $(yaml "exec $command")
                  envFrom:
                    - secretRef: # HF_TOKEN and the like
                        name: jaxreason-secrets
                        optional: true
                  ports:
                    - containerPort: 8471 # between libtpus
                    - containerPort: 8431 # metrics
                    - containerPort: 8482 # jax.distributed
                  resources:
                    requests:
                      google.com/tpu: $chips
                    limits:
                      google.com/tpu: $chips
MANIFEST
}

case "${TPU_ARGUMENTS[0]:-apply}" in
  apply)
    [ "$TPU_IMAGE" != IMAGE ] || [ "$TPU_DRY" = yes ] || tpu_fail "TPU_IMAGE is not set: see tpu/Dockerfile"
    text="$(manifest)"
    [ "$TPU_DRY" = no ] || echo "$text"
    [ "$TPU_DRY" = no ] || printf '# '
    tpu_do kubectl apply -f - <<<"$text" || tpu_stop "kubectl could not apply it"
    ;;
  status)
    tpu_do kubectl get jobset "$TPU_NAME" || tpu_stop "there is no job $TPU_NAME, or the cluster does not answer"
    tpu_do kubectl get pods -l "$selector" -o wide
    ;;
  logs) tpu_do kubectl logs -f -l "$selector,jobset.sigs.k8s.io/job-index=0,batch.kubernetes.io/job-completion-index=0" ;;
  delete) tpu_do kubectl delete jobset "$TPU_NAME" --ignore-not-found || tpu_stop "$TPU_NAME could not be deleted" ;;
  *) tpu_fail "${TPU_ARGUMENTS[0]}: expected apply, status, logs or delete" ;;
esac
