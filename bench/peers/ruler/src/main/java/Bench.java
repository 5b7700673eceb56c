// Bench RULES EVENTS SECONDS: events matched per CPU-second of the matching thread (collector and compiler not counted), and matches per
// event. Prints "rate matches refused".
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import software.amazon.event.ruler.Machine;

public class Bench {
    private static double cpu() {
        return ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime() / 1e9;
    }

    public static void main(String[] args) throws Exception {
        Machine machine = Machine.builder().build();
        int refused = 0, number = 0;
        for (String rule : Files.readAllLines(Path.of(args[0]))) {
            try {
                machine.addRule("r" + number++, rule);
            } catch (Exception e) {
                refused++;
            }
        }
        List<String> events = Files.readAllLines(Path.of(args[1]));
        double seconds = Double.parseDouble(args[2]);
        long matches = 0, counted = 0;
        double started = cpu();
        while (counted == 0 || cpu() - started < seconds) { // warm
            for (String event : events) {
                matches += machine.rulesForJSONEvent(event).size();
                counted++;
                if (counted % 64 == 0 && cpu() - started > seconds * 3)
                    break;
            }
        }
        double perEvent = (double) matches / counted;
        long done = 0;
        started = cpu();
        outer:
        while (true) {
            for (String event : events) {
                machine.rulesForJSONEvent(event);
                done++;
                if (done % 16 == 0 && cpu() - started > seconds)
                    break outer;
            }
        }
        System.out.printf("%.0f %.3f %d%n", done / (cpu() - started), perEvent, refused);
    }
}
