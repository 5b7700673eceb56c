word = 'a package with relative imports'
