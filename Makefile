# Everything is done by `cargo xtask`; these are the names one types. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help build demo bench check-models test check arm64 header ptx schema

help:
	@echo "make build    library, headers and the infer command, installed to dist/"
	@echo "make demo     build, convert the shipped model, run the C and C++ examples on real images"
	@echo "make bench    measure models beside other runtimes; make bench ARGS=--help"
	@echo "make check-models  compare models with what PyTorch computes; make check-models ARGS=--help"
	@echo "make test     everything that CI runs"
	@echo "make check    the quick part of it: format, lints, documentation, generated files"
	@echo "make arm64    the library's tests for AArch64, under emulation"
	@echo "make header   generate include/infer.h"
	@echo "make ptx      compile the CUDA kernels to PTX"
	@echo "make schema   generate the Rust code of schema/model.fbs"

build:
	cargo xtask dist

bench check-models arm64:
	cargo xtask $@ $(ARGS)

demo test check header ptx schema:
	cargo xtask $@
