# What is done in the machine of machine.ts, and its end.
cd /gantry
echo "init: tests after $(cut -d' ' -f1 /proc/uptime) s"
# In one process: each start of Node takes seconds here. What a configuration is refused for is no other kernel’s business: the host has seen it.
node --test --test-isolation=none --test-timeout=120000 \
  --test-skip-pattern='/^are refused|^lists containers for people|^writes a configuration/' \
  --test-reporter=./conformance/runtime/machine-report.ts \
  --test-reporter-destination=/tmp/report native/*.system.test.ts
echo "init: tests ended with $?"
cat /tmp/report
poweroff -f
