# Sourced, not run: what the peer images hold and where they lie.
#
# An image directory carries a digest of its recipe in its name, so two clones with
# different recipes share one cache without undoing each other's work, and nothing
# in the cache is ever changed after it has been moved into place.

CACHE=${ADIT_LAB_CACHE:-/var/tmp/adit-lab}
SUITE=bookworm

# What every peer has, and what each IKE daemon adds.
packages_of() {
  local common=xl2tpd,ppp,iproute2,iputils-ping,tcpdump,ethtool,kmod,busybox-static,procps,python3
  case $1 in
    strongswan) echo "$common,strongswan-starter,strongswan-charon,libstrongswan-standard-plugins,libstrongswan-extra-plugins,libcharon-extra-plugins,libcharon-extauth-plugins" ;;
    libreswan) echo "$common,bind9-host,libreswan" ;;
    *) echo "no such image: $1 (strongswan or libreswan)" >&2; return 2 ;;
  esac
}

# image_dir NAME: the rootfs of peers called strongswan or libreswan.
image_dir() {
  local packages digest
  packages=$(packages_of "$1") || return
  digest=$(echo "$SUITE $packages $(cat "$LAB/first-init")" | sha256sum | cut -c1-10)
  echo "$CACHE/images/$1-$digest"
}

KERNEL_DIR=$CACHE/images/kernel-$SUITE
