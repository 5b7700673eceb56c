#!/bin/sh
# wrapped.sh COMMAND...: runs COMMAND through the program that $AWS_LAMBDA_EXEC_WRAPPER names, as AWS's runtimes do. When there is none to
# run the process ends as theirs does, with 127 or 126, and this line is in the function's log.
wrapper=$AWS_LAMBDA_EXEC_WRAPPER
case $wrapper in
*/*) ;;
*) wrapper=./$wrapper ;; # from the function's folder, not from PATH
esac

refuse() {
    echo "AWS_LAMBDA_EXEC_WRAPPER of function '$AWS_LAMBDA_FUNCTION_NAME': '$AWS_LAMBDA_EXEC_WRAPPER' $2, seen from $PWD; $3" >&2
    exit "$1"
}

[ -e "$wrapper" ] || refuse 127 "does not exist" "give the path of an executable file on this machine, or take the variable out of 'environment'"
[ -f "$wrapper" ] || refuse 127 "is not a file" "give the path of an executable file, or take the variable out of 'environment'"
[ -x "$wrapper" ] || refuse 126 "is not executable" "chmod +x it"
exec "$wrapper" "$@"
