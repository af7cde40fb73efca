#!/bin/sh
# Stands for `rigl train --resume=RUN …` in tests of scheduling; the last argument says how it behaves.
run=${2#--resume=}
for how; do :; done
case $how in
in-use-once)
    mkdir "$run.tried" 2>/dev/null || { echo "error: the disk is full" >&2; exit 2; }
    echo "error: \`run-0\` is in use by process 1 on host a" >&2
    exit 75
    ;;
in-use)
    echo "error: \`run-0\` is in use by process 1 on host a" >&2
    exit 75
    ;;
words)
    echo "error: the words \`is in use by\` say nothing" >&2
    exit 2
    ;;
save)
    cat >/dev/null
    exit 143
    ;;
be-killed)
    cat >/dev/null
    echo "warning: something else" >&2
    kill -KILL $$
    ;;
esac
