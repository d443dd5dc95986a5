"""The billing service: holds, charges and the ledger."""
