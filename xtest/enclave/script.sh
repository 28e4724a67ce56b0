# SPDX-License-Identifier: MIT
# What a shell can do by itself.
set -eu
declare -A count=()
while read -r word rest; do
    count[$word]=$(( ${count[$word]:-0} + ${#rest} ))
done </root/words
for word in one two; do echo "$word ${count[$word]}"; done
fib() { local a=0 b=1 i; for ((i = 0; i < $1; i++)); do ((b += a, a = b - a)) || :; done; REPLY=$a; }
fib 50; echo "fib $REPLY"
[[ "v1.22.333" =~ ^v([0-9]+)\.([0-9]+) ]] && echo "match ${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"
printf -v text '%05d' 42; echo "text $text ${text//0/o}"
trap 'echo "trapped $?"' EXIT
exec 3>/tmp/out; echo "to a file" >&3; exec 3>&-
IFS= read -r line </tmp/out; echo "line $line"
kill -0 $$ && echo "alive"
exit 4
