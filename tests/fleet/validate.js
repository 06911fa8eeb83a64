// Reads Kubernetes objects, an array in JSON, from standard input, and validates each against the schema of its
// kind. Prints what is wrong with them.
import {readFileSync} from "node:fs";

for (const object of JSON.parse(readFileSync(0, "utf8"))) {
    const {[object.kind]: Kind} = await import(`kubernetes-models/${object.apiVersion}`);
    try {
        new Kind(object).validate();
    } catch (error) {
        console.log(`${object.kind} ${object.metadata?.name}: ${error.message}`);
    }
}
