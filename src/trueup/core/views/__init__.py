"""What people ask of the ledger, as pure folds over its events: status, history, why, timeline."""
