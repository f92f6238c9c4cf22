# For scripts that need Debian packages; to be sourced.

# LOG COMMAND:PACKAGE...  installs those whose command (or file) is missing.
install_packages() {
  local log=$1 pair missing=()
  shift
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || [ -e "${pair%%:*}" ] || missing+=("${pair##*:}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "apt-get install ${missing[*]}" >&2
  if [ "$(id -u)" != 0 ]; then echo "this needs root" >&2; return 1; fi
  local quiet=(-qq -o DPkg::Lock::Timeout=600)
  apt-get "${quiet[@]}" update >>"$log" 2>&1
  DEBIAN_FRONTEND=noninteractive apt-get "${quiet[@]}" install -y --no-install-recommends "${missing[@]}" \
    >>"$log" 2>&1 || { tail -n 15 "$log" >&2; return 1; }
}
