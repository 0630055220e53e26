"""`make helm-refresh`: write what is made of other things, look at what changed before committing it."""

from helm import golden, made, readme

made.write()
readme.write()
golden.write()
