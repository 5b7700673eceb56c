export const handler = async () => 'no package.json says so';
