run=$1 place=$2 words=$3; shift 3; status=0; log=$(mktemp) || exit 99
one() { $run $VERIFACTORY_SHUFFLE "$1" > "$log" 2>&1 < /dev/null; }
for script do
    echo "verifactory: script $script"
    case $place in
        beside) (cd "$(dirname "$script")" && one "$(basename "$script")") ;;
        *) one "$script" ;;
    esac
    ended=$?
    cat "$log"
    echo
    echo "verifactory: status $ended $script"
    { [ $ended = 0 ] || [ $ended = 77 ]; } || status=1
    if grep -qiE "$words" "$log"; then status=1; fi
done
rm -f "$log"
exit $status
