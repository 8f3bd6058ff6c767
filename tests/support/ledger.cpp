// For tests that do not link the module "lab".
#include "lab/ledger.cpp"
