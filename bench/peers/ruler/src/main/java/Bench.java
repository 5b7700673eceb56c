// Bench RULES EVENTS SECONDS: events matched per CPU-second of the matching thread (collector and compiler not counted), measured for SECONDS
// each time a line is read. Warms up first, and prints "matches refused": matches per event, rules it would not take. Then a rate for each line.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import software.amazon.event.ruler.Machine;

public class Bench {
    private static final int WARM = 5; // the first pass runs at half the rate of later ones

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
        while (counted == 0 || cpu() - started < seconds * WARM) {
            for (String event : events) {
                matches += machine.rulesForJSONEvent(event).size();
                counted++;
                if (counted % 16 == 0 && cpu() - started > seconds * WARM)
                    break;
            }
        }
        System.out.printf("%.3f %d%n", (double) matches / counted, refused);
        BufferedReader asked = new BufferedReader(new InputStreamReader(System.in));
        int at = 0;
        while (asked.readLine() != null) {
            long done = 0;
            started = cpu();
            while (done % 16 != 0 || cpu() - started < seconds) {
                machine.rulesForJSONEvent(events.get(at));
                at = (at + 1) % events.size();
                done++;
            }
            System.out.printf("%.0f%n", done / (cpu() - started));
        }
    }
}
