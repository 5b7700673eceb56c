const x = require('not-installed'); exports.handler = async () => x;
