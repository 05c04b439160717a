/** Pulls the image with a shell into the store that is its argument, in whatever mount namespace it runs, and prints its name. */
import { pullBusybox } from './busybox-image.ts'

process.stdout.write(`${await pullBusybox(process.argv[2] ?? '')}\n`)
