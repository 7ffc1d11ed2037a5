# Reads settings.env of the installation in $production as compose does; sourced by scripts of this directory.

# Prints the value of a variable: the last one, without quotes, or without the comment behind it.
setting() {
  sed -n "s/^$1=//p" "$production/settings.env" | tail -n 1 | tr -d '\r' | sed \
    -e 's/^"\([^"]*\)".*/\1/;t' -e "s/^'\([^']*\)'.*/\1/;t" -e 's/[[:space:]]#.*//' -e 's/[[:space:]]*$//'
}

# Prints the names of all variables.
setting_names() {
  sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' "$production/settings.env"
}
