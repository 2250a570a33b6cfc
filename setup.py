"""The native build: setuptools hands the C++ kernel to CMake (CMakeLists.txt)."""

from setuptools import setup

setup(cmake_source_dir=".")
