"""How sure the slow loop is, and how many vehicles it needs: `python -m bench_field`."""
