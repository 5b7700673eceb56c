#include "bench/scaling/picture.h"

#include <math.h>

enum { PANEL_WIDTH = 420, PANEL_HEIGHT = 200, LEFT = 44, TOP = 34, COLUMNS = 2, GAP_X = 70, GAP_Y = 66 };

/* 1, 2 or 5 times a power of ten, at or above. */
static double round_up(double value)
{
    double power = pow(10, floor(log10(value > 0 ? value : 1)));

    for (int i = 0; i < 3; i++) {
        static const double steps[] = { 1, 2, 5 };
        if (steps[i] * power >= value)
            return steps[i] * power;
    }
    return 10 * power;
}

static void panel(FILE *file, const struct trace *trace, const struct line *lines, size_t lines_count, size_t at, int x0, int y0)
{
    double highest = 1, span_s = (double)lines[0].outcome[at].span_us / 1e6;

    for (size_t l = 0; l < lines_count; l++) {
        for (int bin = 0; bin < OUTCOME_BINS; bin++)
            highest = fmax(highest, lines[l].outcome[at].bins[bin]);
    }
    highest = round_up(highest);
    (void)fprintf(file, "<text x=\"%d\" y=\"%d\" font-weight=\"bold\">%s</text><text x=\"%d\" y=\"%d\" fill=\"#666\">%s</text>\n", x0, y0 - 16,
                  trace->name, x0 + 60, y0 - 16, trace->what);
    for (int i = 0; i <= 4; i++) {
        double y = y0 + PANEL_HEIGHT - PANEL_HEIGHT * i / 4.0;
        (void)fprintf(file, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" "
                      "text-anchor=\"end\" fill=\"#666\">%g</text>\n", x0, y, x0 + PANEL_WIDTH, y, x0 - 6, y + 4, highest * i / 4);
    }
    double step_min = span_s > 2000 ? 10 : span_s > 700 ? 2 : 1;
    for (double minute = 0; minute * 60 <= span_s; minute += step_min)
        (void)fprintf(file, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" fill=\"#666\">%g</text>\n",
                      x0 + PANEL_WIDTH * minute * 60 / span_s, y0 + PANEL_HEIGHT + 16, minute);
    for (size_t l = 0; l < lines_count; l++) {
        (void)fprintf(file, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.4\" d=\"", lines[l].color);
        for (int bin = 0; bin < OUTCOME_BINS; bin++) {
            double y = y0 + PANEL_HEIGHT - PANEL_HEIGHT * lines[l].outcome[at].bins[bin] / highest;
            (void)fprintf(file, "%s%.1f %.1f", bin == 0 ? "M" : "L", x0 + PANEL_WIDTH * (bin + 0.5) / OUTCOME_BINS, y);
        }
        (void)fprintf(file, "\"/>\n");
    }
}

void picture_write(FILE *file, const struct trace *traces, const struct line *lines, size_t lines_count)
{
    int rows = (TRACES + COLUMNS) / COLUMNS; /* the legend takes one place */
    int width = LEFT + COLUMNS * (PANEL_WIDTH + GAP_X) - GAP_X + 20, height = TOP + rows * (PANEL_HEIGHT + GAP_Y);

    (void)fprintf(file, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
                  "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n", width, height, width,
                  height);
    for (size_t t = 0; t <= TRACES; t++) {
        int x0 = LEFT + (int)(t % COLUMNS) * (PANEL_WIDTH + GAP_X), y0 = TOP + (int)(t / COLUMNS) * (PANEL_HEIGHT + GAP_Y);
        if (t < TRACES) {
            panel(file, &traces[t], lines, lines_count, t, x0, y0);
            continue;
        }
        (void)fprintf(file, "<text x=\"%d\" y=\"%d\">Instances (mean of each interval) over minutes.</text>\n", x0, y0 + 20);
        for (size_t l = 0; l < lines_count; l++) {
            int y = y0 + 50 + 22 * (int)l;
            (void)fprintf(file, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-width=\"3\"/><text x=\"%d\" y=\"%d\">%s"
                          "</text>\n", x0, y - 4, x0 + 30, y - 4, lines[l].color, x0 + 40, y, lines[l].name);
        }
    }
    (void)fprintf(file, "</svg>\n");
}
