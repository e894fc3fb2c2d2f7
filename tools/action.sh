#!/usr/bin/env bash
# The step of action.yml: annotations in the log, a table in the job's summary, the exit code of `onnxfix diagnose`.
# Inputs come in the environment and not in the command, so that none of them is run.
set -euo pipefail

if [ -n "${ONNXFIX_INSTALL:-}" ]; then
  python -m pip install --quiet --disable-pip-version-check "$ONNXFIX_INSTALL"
fi
read -r -a paths <<<"$ONNXFIX_PATHS"
read -r -a given <<<"${ONNXFIX_ARGS:-}"
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
options=(--format github --fail-on "${ONNXFIX_FAIL_ON:-error}" --jobs "${ONNXFIX_JOBS:-1}" --write "$reports/summary.md")
[ -z "${ONNXFIX_TARGET:-}" ] || options+=(--target "$ONNXFIX_TARGET")
[ -z "${ONNXFIX_BASELINE:-}" ] || options+=(--baseline "$ONNXFIX_BASELINE")
[ -z "${ONNXFIX_SARIF:-}" ] || options+=(--write "$ONNXFIX_SARIF" --force)

status=0
onnxfix diagnose "${options[@]}" ${given[@]+"${given[@]}"} -- "${paths[@]}" || status=$?
if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$reports/summary.md" ]; then
  cat "$reports/summary.md" >>"$GITHUB_STEP_SUMMARY"
fi
exit "$status"
