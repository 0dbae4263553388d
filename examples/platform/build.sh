#!/bin/sh
# Builds the Worker into build/, which `main` of wrangler.toml points at. wrangler runs it before `deploy` and `dev`.
# Needs rustup with the target wasm32-unknown-unknown, and installs what else there is to install.
set -eu
cd "$(dirname "$0")"

# WORKER_BUILD names another worker-build, which brings its compiler with it.
if [ -z "${WORKER_BUILD:-}" ]; then
  version=0.8.7 # that of the crate `worker` in Cargo.lock
  case $(worker-build --version 2>/dev/null || true) in
  *"$version"*) ;;
  *) cargo install --quiet --locked "worker-build@$version" ;;
  esac

  # A panic that unwinds becomes an answer with status 500; one that aborts hangs the client of a session object. Unwinding takes
  # a standard library that is built for it, and that takes the nightly toolchain.
  rustc +nightly --version >/dev/null 2>&1 ||
    rustup toolchain install nightly --profile minimal --component rust-src --target wasm32-unknown-unknown
fi

"${WORKER_BUILD:-worker-build}" --profile worker --panic-unwind . --no-default-features --features workers
node strip-names.mjs build/index_bg.wasm
