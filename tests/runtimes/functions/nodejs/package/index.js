exports.handler = async () => require('greeter')('package');
