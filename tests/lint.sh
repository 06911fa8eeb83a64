#!/bin/bash
# The rules of the house that a program can check. Prints a line a rule; exits 1 if one is broken.
#   tests/lint.sh BUILD
set -u -o pipefail
build=${1:?usage: lint.sh BUILD}
status=0

# rule TEXT COMMAND...: the command prints what breaks the rule.
rule() {
    local text=$1 output
    shift
    output=$("$@" 2>&1)
    if [ -z "$output" ]; then
        printf 'ok      %s\n' "$text"
    else
        printf 'FAILED  %s\n%s\n' "$text" "$output"
        status=1
    fi
}

# includes DIRECTORY ALLOWED-PATTERN: project includes of its files that do not match.
includes() {
    grep -nE '^#include "' "$1"/*.[ch] | grep -vE "#include \"($2)"
}
# never_includes PATTERN FILE...: includes that these files must not have.
never_includes() {
    local pattern=$1
    shift
    grep -nE "^#include [<\"]($pattern)" "$@"
}
own_header_first() {
    for source in common/*.c proto/*.c daemon/*.c client/*.c; do
        header=${source%.c}.h
        [ -f "$header" ] || continue
        [ "$(grep -m1 '^#include' "$source")" = "#include \"$header\"" ] || echo "$source"
    done
}
format() { clang-format --dry-run -Werror common/*.[ch] proto/*.[ch] daemon/*.[ch] client/*.[ch] client/examples/*.c tests/*/*.[ch] 2>&1 | grep -E 'error|warning'; }
# cppcheck does not know the cleanup attribute (memleak) and the loops of sys/queue.h (uninitvar, ctuuninitvar); compiler,
# sanitizers and valgrind look after both.
c_check() {
    cppcheck --quiet --error-exitcode=0 --std=c11 --inline-suppr -I. -D_GNU_SOURCE \
        -DEDGEMIND_VERSION='""' --enable=warning,portability \
        --suppress=missingIncludeSystem --suppress=nullPointerOutOfMemory --suppress=memleak --suppress=uninitvar --suppress=ctuuninitvar --template=gcc common proto daemon client 2>&1 |
        grep -E '(error|warning|portability):'
}
options_documented() {
    "$build/edgemindd" --help | grep -oE -- '--[a-z-]+' | sort -u | while read -r option; do
        grep -qE -- "(Cm|Fl -|Fl|It) *${option#--}([= ]|$)|${option}" daemon/edgemindd.8 || echo "edgemindd.8: $option"
        case $option in --config | --check-config | --print-dropin | --simulate | --help | --version) continue ;; esac
        grep -qE "^#? ?${option#--} *=" systemd/edgemindd.conf || echo "edgemindd.conf: $option"
    done
}
verbs_documented() {
    "$build/emctl" --help | awk '/^  [a-z]+(-[a-z]+)* / { print $1 }' | sort -u | while read -r verb; do
        grep -q -- "$verb" client/emctl.1 || echo "emctl.1: $verb"
    done
}
hangs() { strings -a "$build/edgemindd" | grep -E '^__wrap_|hanging_loop'; }
manuals() { mandoc -T lint -W warning daemon/edgemindd.8 client/emctl.1 client/libedgemind.3 2>&1; }

rule 'common includes only common' includes common 'common/'
rule 'proto includes only common and proto' includes proto '(common|proto)/'
rule 'client includes only common, proto and client' includes client '(common|proto|client)/'
rule 'daemon includes only common, proto and daemon' includes daemon '(common|proto|daemon)/'
rule 'arena, policy and scheduler know neither JSON, loop, clock nor I/O' never_includes \
    'jansson|event2|systemd|time|sys/|fcntl|unistd|common/(json|clock|log)|proto/|daemon/(call|server|loader|monitor|backing)' \
    daemon/arena.[ch] daemon/policy.[ch] daemon/scheduler*.[ch] daemon/model.[ch]
rule 'only the composition root knows the methods and the service' bash -c \
    "grep -lE '#include \"daemon/(methods|service|daemon)\.h\"' daemon/*.c | grep -vE 'daemon/(daemon|main|service|store|handover|methods.*|answers|hold)\.c'"
rule 'a source includes its own header first' own_header_first
rule 'no test includes a source file' grep -rnE --include='*.[ch]' '#include ".*\.c"' tests
rule 'formatted' format
rule 'only the test build of the daemon can be told to hang' hangs
rule 'cppcheck' c_check
rule 'every option is in the manual and in the shipped configuration' options_documented
rule 'every verb is in the manual' verbs_documented
rule 'manuals' manuals
exit $status
