"""The generated messages and stubs of proto/ (`make proto`); needs the extra `rpc`."""
