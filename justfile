# A menu; the logic is in cargo and xtask.
default:
    @just --list

# What CI checks before it builds: formatting, lints, house rules
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo xtask tidy
    cargo xtask licences

test:
    cargo test --workspace

# Everything that CI runs, in its order
ci:
    .ci/run

doc:
    cargo doc --workspace --no-deps --open

# Orion beside llama.cpp, with this machine's limits
bench *ARGUMENTS:
    cargo xtask bench-peers {{ARGUMENTS}}
