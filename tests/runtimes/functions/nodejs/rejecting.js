setTimeout(() => { throw new Error('while loading, later'); }, 1); module.exports = new Promise(() => {}); require('fs'); Promise.reject(new Error('while loading, rejected'));
