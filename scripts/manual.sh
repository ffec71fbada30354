#!/bin/sh
# Writes manual pages and shell completions of programs, where packages expect them.
#   BIN=target/release scripts/manual.sh /usr/local/share callbin callbin-server
set -eu
bin=${BIN:-target/release}
share=$1
shift
bash=$share/bash-completion/completions zsh=$share/zsh/site-functions fish=$share/fish/vendor_completions.d
mkdir -p "$bash" "$zsh" "$fish"
for program; do
    "$bin/$program" man "$share/man/man1"
    "$bin/$program" completions bash > "$bash/$program"
    "$bin/$program" completions zsh > "$zsh/_$program"
    "$bin/$program" completions fish > "$fish/$program.fish"
done
