#!/usr/bin/env bash
# A real S3 server: Ceph RGW (a monitor, an in-memory OSD, a gateway) from Debian's or Ubuntu's packages, which are
# unpacked, not installed. On loopback only.
#   ceph-rgw.sh start FOLDER PORT MON_PORT    ready when it exits with 0; key AK, secret SK, no buckets
#   ceph-rgw.sh stop FOLDER
# The packages (73 MB to download) are kept in CEPH_CACHE, by default beside other temporary files.
set -euo pipefail
command=$1 folder=$(mkdir -p "$2" && cd "$2" && pwd)

if [ "$command" = stop ]; then
  for name in client.rgw.a osd.0 mon.a; do
    [ -f "$folder/$name.pid" ] && kill -9 "$(cat "$folder/$name.pid")" 2>/dev/null || true
  done
  rm -rf "$folder"
  exit 0
fi

port=$3 mon=$4
trap 'echo "line $LINENO failed: $BASH_COMMAND" >&2; tail -n 20 "$folder"/*.log >&2 || true' ERR
root=${CEPH_CACHE:-${TMPDIR:-/tmp}/lakehouse-ceph-$(id -u)}
mkdir -p "$root"
(
  # Several test runs may start at the same time.
  flock 9
  if [ ! -f "$root/complete" ]; then
    mkdir -p "$root/debs/partial"
    [ -n "$(find /var/lib/apt/lists -name '*Packages*' 2>/dev/null | head -1)" ] || apt-get update -qq
    (cd "$root/debs" && apt-get install -qq -y --download-only --no-install-recommends \
      -o Dir::Cache::archives="$root/debs" radosgw ceph-mon ceph-osd ceph-mgr ceph-common >/dev/null)
    for package in "$root"/debs/*.deb; do dpkg-deb -x "$package" "$root"; done
    touch "$root/complete"
  fi
) 9>"$root.lock"

libraries=$root/usr/lib/$(uname -m)-linux-gnu
export LD_LIBRARY_PATH=$libraries:$root/lib/$(uname -m)-linux-gnu:$libraries/ceph:$root/usr/lib
export PATH=$root/usr/bin:$PATH PYTHONPATH=$root/usr/lib/python3/dist-packages
ceph() { timeout 30 /usr/bin/python3 "$root/usr/bin/ceph" -c "$folder/ceph.conf" "$@"; }
mkdir -p "$folder/mon" "$folder/osd0"
fsid=$(cat /proc/sys/kernel/random/uuid)
cat > "$folder/ceph.conf" <<CONF
[global]
fsid = $fsid
run dir = $folder
crash dir = $folder
log file = $folder/\$name.log
mon cluster log file = $folder/cluster.log
admin socket = $folder/\$name.asok
pid file = $folder/\$name.pid
mon host = v1:127.0.0.1:$mon
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
erasure code dir = $libraries/ceph/erasure-code
plugin dir = $libraries/ceph
osd class dir = $root/usr/lib/$(uname -m)-linux-gnu/rados-classes
[mon]
mon data = $folder/mon
mon data avail crit = 1
[osd]
osd data = $folder/osd0
osd objectstore = memstore
memstore device bytes = 2147483648
[client]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw thread pool size = 64
CONF
monmaptool --create --fsid "$fsid" --addv a "[v1:127.0.0.1:$mon]" "$folder/monmap" >/dev/null
ceph-mon --mkfs -i a --monmap "$folder/monmap" -c "$folder/ceph.conf"
ceph-mon -i a -c "$folder/ceph.conf"
ceph osd new "$fsid" >/dev/null
ceph-osd -i 0 --mkfs --osd-uuid "$fsid" -c "$folder/ceph.conf" >/dev/null 2>&1
ceph-osd -i 0 -c "$folder/ceph.conf" >/dev/null 2>&1
radosgw-admin -c "$folder/ceph.conf" user create --uid=t --display-name=t --access-key=AK --secret=SK >/dev/null 2>&1
radosgw -c "$folder/ceph.conf" -n client.rgw.a >/dev/null 2>&1
for _ in $(seq 120); do
  (exec 3<>/dev/tcp/127.0.0.1/"$port") 2>/dev/null && exit 0
  sleep 0.25
done
echo "radosgw does not listen" >&2
false
