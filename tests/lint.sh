#!/bin/bash
# Checks the rules that a program can check. Prints one line per rule; exits 1 if a rule is broken.
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

# The order of the rooms: a room, and the other rooms whose headers its files may include. Each line names
# only rooms of earlier lines, so that there is no circle.
rooms='
common                  -
common/definition       common
common/formats          common common/definition
common/residency        common common/definition
proto                   common
client/library          common common/definition common/formats proto
client/emctl            common common/definition common/residency proto client/library
client/view             common common/formats common/residency proto client/library
daemon/system           common
daemon/arena            common daemon/system
daemon/scheduler        common common/definition common/residency daemon/arena
daemon/weights          common common/definition common/formats daemon/system daemon/arena daemon/scheduler
daemon/monitor          common daemon/system daemon/arena
daemon/restart          common common/definition daemon/system daemon/arena daemon/scheduler
daemon/history          common daemon/scheduler
daemon/control          common proto
daemon/metrics          common daemon/arena daemon/scheduler daemon/history daemon/monitor daemon/control
daemon/methods          common common/definition common/residency proto daemon/system daemon/arena daemon/scheduler daemon/weights daemon/monitor daemon/restart daemon/history daemon/control daemon/metrics
daemon                  common proto daemon/system daemon/arena daemon/scheduler daemon/weights daemon/monitor daemon/restart daemon/history daemon/control daemon/metrics daemon/methods
'
room_order() {
    local room allowed known= file above
    while read -r room allowed; do
        [ -n "$room" ] || continue
        [ "$allowed" != - ] || allowed=
        for above in $allowed; do
            case " $known " in *" $above "*) ;; *) echo "$room may not stand below $above" ;; esac
        done
        known="$known $room"
        grep -nE '^ *# *include *("|<(client|common|daemon|proto|tests)/)' "$room"/*.[ch] |
            grep -vE "#include \"($(echo "$room $allowed" | sed 's/ *$//; s/ /|/g'))/[^/]*\""
    done <<<"$rooms"
    for file in $(git ls-files '*.c' '*.h' | grep -vE '^(tests|client/examples)/'); do
        case " $known " in *" ${file%/*} "*) ;; *) echo "$file is in no room" ;; esac
    done
}
# A header and the source of the same name count as one file. No two files include each other, directly
# or indirectly.
include_circles() {
    grep -rE '^#include "' common proto daemon client --include='*.[ch]' |
        sed -E 's|^([^:]*)\.[ch]:#include "([^"]*)\.h".*|\1 \2|' | awk '$1 != $2' | tsort 2>&1 >/dev/null |
        sed 's/^tsort: //'
}
# never_includes PATTERN FILE...: includes that these files must not have.
never_includes() {
    local pattern=$1
    shift
    grep -nE "^#include [<\"]($pattern)" "$@"
}
# What writes to a persistent file: neither the daemon nor a library does, so that a loss of power damages none.
# A record of routes, which is only made on demand, is right up to any row.
written_files() {
    git ls-files 'common/*.[ch]' 'proto/*.[ch]' 'daemon/*.[ch]' 'client/*.[ch]' 'client/python/*.py' ':!client/emctl/whole_file.c' \
        ':!client/view/route_record.c' |
        xargs grep -nE 'O_CREAT|O_TMPFILE|mko?stemp|creat\(|rename(at2?)? ?\(|\.write_(text|bytes)\(|open(at)?\([^)]*"([wax]|r[be]*\+)'
}
own_header_first() {
    for source in $(git ls-files 'common/*.c' 'proto/*.c' 'daemon/*.c' 'client/*.c'); do
        header=${source%.c}.h
        [ -f "$header" ] || continue
        [ "$(grep -m1 '^#include' "$source")" = "#include \"$header\"" ] || echo "$source"
    done
}
format() { git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror 2>&1 | grep -E 'error|warning'; }
# cppcheck does not know the cleanup attribute (memleak) and the loops of sys/queue.h (uninitvar, ctuuninitvar); compiler,
# sanitizers and valgrind look after both.
c_check() {
    cppcheck --quiet --error-exitcode=0 --std=c11 --inline-suppr -I. -D_GNU_SOURCE \
        -DEDGEMIND_VERSION='""' --enable=warning,portability \
        --suppress=missingIncludeSystem --suppress=nullPointerOutOfMemory --suppress=memleak --suppress=uninitvar --suppress=ctuuninitvar --template=gcc common proto daemon client 2>&1 |
        grep -E '(error|warning|portability):'
}
# Writes the database again, so that it has every file with the Makefile's flags.
clang_tidy() {
    make -s BUILD="$build" compile_commands.json || return
    git ls-files 'common/*.c' 'proto/*.c' 'daemon/*.c' 'client/library/*.c' 'client/emctl/*.c' |
        xargs -n 12 -P "$(nproc)" clang-tidy --quiet -p . 2>/dev/null | grep -E '(error|warning):'
}
# Except edgemind.py, which stays one file so that a program can carry a copy of it.
sizes() {
    git ls-files Makefile '*.[ch]' '*.js' '*.py' '*.sh' ':!client/python/edgemind.py' | xargs wc -l |
        awk '$1 > 400 && $2 != "total" { print $2 ": " $1 " lines" }'
}
options_documented() {
    "$build/edgemindd" --help | grep -oE -- '--[a-z-]+' | sort -u | while read -r option; do
        grep -qE -- "(Cm|Fl -|Fl|It) *${option#--}([= ]|$)|${option}" daemon/edgemindd.8 || echo "edgemindd.8: $option"
        case $option in --config | --check-config | --print-dropin | --simulate | --help | --version) continue ;; esac
        grep -qE "^#? ?${option#--} *=" systemd/edgemindd.conf || echo "edgemindd.conf: $option"
        grep -q "^| .*\`${option#--}\`" README.md || echo "README.md: $option"
    done
}
verbs_documented() {
    "$build/emctl" --help | awk '/^  [a-z]+(-[a-z]+)* / { print $1 }' | sort -u | while read -r verb; do
        grep -q -- "$verb" client/emctl/emctl.1 || echo "emctl.1: $verb"
    done
}
policies_documented() {
    "$build/edgemindd" --help | sed -n 's/^ *--policy=//p' | tr '|' '\n' | while read -r policy; do
        grep -q "^\.It Cm policy .*Cm $policy\\( \|$\)" daemon/edgemindd.8 || echo "edgemindd.8, values of policy: $policy"
        grep -qx "\.Cm $policy :" daemon/edgemindd.8 || echo "edgemindd.8, what each does: $policy"
        sed -n '/^\.It Cm set-policy/,/^\.It/p' client/emctl/emctl.1 | grep -qE "^\.Cm $policy( |$)" || echo "emctl.1, set-policy: $policy"
        grep -q "\"$policy\"" systemd/edgemindd.conf || echo "edgemindd.conf: $policy"
        grep -q "^| \`policy\` .*\`$policy\`" README.md || echo "README.md, table of options: $policy"
        grep -q "^#.*\"$policy\"" proto/io.edgemind.manager.varlink || echo "io.edgemind.manager.varlink, SetPolicy: $policy"
    done
}
hangs() { strings -a "$build/edgemindd" | grep -E '^__wrap_|hanging_loop'; }
page_asked_elsewhere() { grep -rnE '_SC_PAGE_?SIZE|getpagesize' common proto daemon client --include='*.[ch]' | grep -v '^common/page\.h:'; }
manuals() { mandoc -T lint -W warning daemon/edgemindd.8 client/emctl/emctl.1 client/library/libedgemind.3 client/view/edgemind-view.7 2>&1; }

rule 'every file is in a room, and includes only from rooms above it' room_order
rule 'no includes in a circle' include_circles
rule 'a source, header, test or script has at most 400 lines' sizes
rule 'arena, scheduler and residency know neither JSON, loop, clock nor I/O' never_includes \
    'jansson|event2|systemd|time|sys/[^q]|fcntl|unistd|common/(json|clock|log)' \
    daemon/arena/arena.[ch] daemon/scheduler/*.[ch] common/residency/*.[ch]
rule 'only client/emctl/whole_file.c writes files, and routes are recorded' written_files
rule 'a source includes its own header first' own_header_first
rule 'no test includes a source file' grep -rnE --include='*.[ch]' '#include ".*\.c"' tests
rule 'only common/page.h asks for the size of a page' page_asked_elsewhere
rule 'formatted' format
rule 'only the test build of the daemon can be told to hang' hangs
rule 'cppcheck' c_check
rule 'clang-tidy' clang_tidy
rule 'every option is in the manual, in the shipped configuration and in the table of README.md' options_documented
rule 'every verb is in the manual' verbs_documented
rule 'every policy is in the manuals, the shipped configuration, README.md and the interface file' policies_documented
rule 'manuals' manuals
rule 'nothing on the event loop reads a file or waits' python3 tests/loop_calls.py "$build"
exit $status
