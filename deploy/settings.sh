# Reads settings.env of the installation in $production as compose does, and what its compose file needs; sourced by scripts
# of this directory, which $deploy names.

# Prints the value of a variable: the last one, without quotes, or without the comment behind it.
setting() {
  sed -n "s/^$1=//p" "$production/settings.env" | tail -n 1 | tr -d '\r' | sed \
    -e 's/^"\([^"]*\)".*/\1/;t' -e "s/^'\([^']*\)'.*/\1/;t" -e 's/[[:space:]]#.*//' -e 's/[[:space:]]*$//'
}

# Prints the names of all variables.
setting_names() {
  sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' "$production/settings.env"
}

# Prints the names of the secrets that the compose file mounts and the installation does not have.
missing_secrets() {
  for secret in $(sed -n 's|.*{file: ".*/secrets/\([a-z_]*\)"}|\1|p' "$deploy/compose.production.yml"); do
    [ -e "$production/secrets/$secret" ] || echo "$secret"
  done
}
