# sandbox.sh PYTHON COMMAND...: runs a command where there is nothing but a copy of this directory's files, this
# machine's programs and PYTHON, an installation of Python; all but the copy is read-only. Linux; util-linux 2.32.
set -e
umask 022
if [ "$1" != apart ]; then # first as process 1 of namespaces of its own, which end with it and with whoever started it
  user=$([ "$(id -u)" = 0 ] || echo "--user --map-root-user")
  exec unshare $user --mount --pid --fork --kill-child --net --ipc --uts sh "$0" apart "$@"
fi
python=$2
shift 2
root=$PWD
mount -t tmpfs -o size=64m,mode=755,nosuid,nodev sandbox "$root" # "." is still the directory beneath it
mkdir "$root/etc" "$root/dev" "$root/proc" "$root/work" "$root/tmp"
chmod 1777 "$root/tmp"
cp -R . "$root/work"
cp /etc/ld.so.cache "$root/etc" 2>/dev/null || true # where libraries are
for path in /usr /bin /sbin /lib /lib64 /etc/alternatives "$python"; do
  if [ -h "$path" ]; then
    cp -P "$path" "$root$path"
  elif [ -d "$path" ] && [ ! -e "$root$path" ]; then
    mkdir -p "$root$path"
    mount --bind "$path" "$root$path"
    mount -o remount,bind,ro,nosuid,nodev "$root$path"
  fi
done
for device in null zero random urandom; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t proc proc "$root/proc"
who=
if setpriv --reuid=65534 true 2>/dev/null; then # started by root itself, whom no limit of processes binds
  chown -R 65534:65534 "$root/work"
  who="--reuid=65534 --regid=65534 --clear-groups"
fi
cd "$root"
pivot_root . .
umount -l . # the machine's own files
cd /work
export HOME=/work
# Not exec: process 1 would outlive the signals that its bounds send. What it leaves running ends with this shell.
setpriv $who --no-new-privs --inh-caps=-all --bounding-set=-all prlimit --nproc=64 -- "$@"
