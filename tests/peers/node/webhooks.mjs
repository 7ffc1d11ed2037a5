// Verification of given deliveries by the libraries of Standard Webhooks; prints the verdict on each as JSON.
import {Webhook as Standard} from 'standardwebhooks';
import {Webhook as Svix} from 'svix';

const deliveries = JSON.parse(process.argv[2]);

function verdict(library, {secret, headers, body}) {
  try {
    new library(secret).verify(Buffer.from(body, 'base64'), headers);
    return 'verified';
  } catch (error) {
    return error.message;
  }
}

const verdicts = library => deliveries.map(delivery => verdict(library, delivery));
console.log(JSON.stringify({standardwebhooks: verdicts(Standard), svix: verdicts(Svix)}));
