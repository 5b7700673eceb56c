import x from './nowhere.mjs'; export const handler = async () => x;
