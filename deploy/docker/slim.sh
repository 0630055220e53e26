#!/bin/sh
# slim.sh    In a build stage: what is left of the base image when programs in it only run. No installer, no package
# manager, no Perl, no other languages' texts; and the user that programs run as. The list of Debian's packages stays
# true, for whoever looks for known faults in them.
set -eu
printf 'twinloop:x:10001:\n' >>/etc/group
printf 'twinloop:x:10001:10001:Twinloop:/data:/usr/sbin/nologin\n' >>/etc/passwd
# Where volumes go: a new one takes the owner of the folder that it covers.
for folder in /data /models /parquet /processes /keys; do mkdir -p "$folder"; chown 10001:10001 "$folder"; done

python - <<'PYTHON'
import shutil, sysconfig
from pathlib import Path

for key in ("stdlib", "purelib"):
    for name in ("test", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo", "config-*", "pydoc_data"):
        for folder in Path(sysconfig.get_path(key)).glob(name):
            shutil.rmtree(folder, ignore_errors=True)
import site
for folder in {*site.getsitepackages(), "/usr/lib/python3/dist-packages"}:
    for pattern in ("pip*", "setuptools*", "wheel*", "pkg_resources", "_distutils_hack", "distutils-*"):
        for found in Path(folder).glob(pattern):
            shutil.rmtree(found) if found.is_dir() else found.unlink()
PYTHON
installed=$(dpkg-query -W -f '${Package}\n' python3-pip python3-setuptools python3-wheel python3-venv python3.11-venv \
  python3-distutils python3-lib2to3 python3-pkg-resources python3-pip-whl python3-setuptools-whl apt libapt-pkg6.0 \
  gpgv debian-archive-keyring adduser debconf perl-base e2fsprogs logsave libext2fs2 libss2 mount fdisk libfdisk1 \
  libgnutls30 libp11-kit0 libunistring2 libidn2-0 libhogweed6 libnettle8 libtasn1-6 libsemanage2 libsemanage-common \
  libsepol2 ncurses-bin bsdutils openssl tzdata util-linux-extra usr-is-merged usrmerge sysvinit-utils login passwd 2>/dev/null || true)
# Their scripts have nothing left to do here, and some want each other's programs.
for one in $installed; do rm -f "/var/lib/dpkg/info/$one".pre* "/var/lib/dpkg/info/$one".post* \
  "/var/lib/dpkg/info/$one:"*.pre* "/var/lib/dpkg/info/$one:"*.post*; done
# shellcheck disable=SC2086
dpkg --purge --force-all $installed >/dev/null 2>&1
rm -rf /usr/share/python-wheels /usr/share/zoneinfo/right /usr/share/zoneinfo/posix /usr/lib/*-linux-gnu/gconv \
  /usr/lib/*-linux-gnu/perl-base /usr/share/perl* /usr/lib/apt /var/cache/* /var/lib/apt /var/log/* /var/lib/dpkg/info/*.md5sums \
  /usr/share/doc/*/changelog* /usr/share/man /usr/share/locale /usr/share/info /root/.cache /tmp/* /usr/src/*
python -m compileall -q -j 0 --invalidation-mode unchecked-hash "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" || true
find / -xdev -perm /6000 -type f -exec chmod a-s {} +
