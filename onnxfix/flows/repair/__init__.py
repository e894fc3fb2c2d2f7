"""The job of repair: attempts, verification, search, what is kept in fp32 after one that erred."""
