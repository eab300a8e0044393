/* A predictor on an ATmega328P whose weights are larger than its RAM: predicts a few rows and says by the UART how many
   answers are the right ones, how much memory it took, and how many cycles of the processor a prediction takes. */
#include "net.c"

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>

#include "rows.h"

extern uint8_t __heap_start;

static net_state state;
static volatile uint16_t overflows;

ISR(TIMER1_OVF_vect) {
    ++overflows;
}

static void put(char c) {
    while (!(UCSR0A & (1 << UDRE0))) {
    }
    UDR0 = (uint8_t)c;
}

static void say(const char *text) {
    while (*text) put(*text++);
}

static void number(uint32_t n) {
    char digits[12];
    uint8_t k = 0;
    do digits[k++] = (char)('0' + n % 10);
    while (n /= 10);
    while (k) put(digits[--k]);
}

int main(void) {
    static INPUT x[NET_INPUTS];
    static OUTPUT y[NET_OUTPUTS];
    const uint8_t *top = (const uint8_t *)SP;
    for (uint8_t *at = &__heap_start; at < top - 16; ++at) *at = 0xA5;
    UCSR0B = 1 << TXEN0;
    TIMSK1 = 1 << TOIE1;
    uint8_t right = 0;
    uint32_t cycles = 0;
    sei();
    for (uint8_t row = 0; row < ROWS; ++row) {
        for (int16_t i = 0; i < NET_INPUTS; ++i) x[i] = rows[row * NET_INPUTS + i];
        overflows = 0;
        TCNT1 = 0;
        TCCR1B = 1;
        net_predict(&state, x, y);
        const uint16_t rest = TCNT1;  /* before it stops: simavr reads 0 from a timer that stands still */
        TCCR1B = 0;
        cycles += (uint32_t)overflows * 65536 + rest;
        uint8_t same = 1;
        for (int16_t i = 0; i < NET_OUTPUTS; ++i) {
            const float off = (float)y[i] - (float)wanted[row * NET_OUTPUTS + i];
            if (!(off <= FAR && off >= -FAR)) same = 0;
        }
        right = (uint8_t)(right + same);
    }
    number(right);
    say(" of ");
    number(ROWS);
    say(" rows agree; bytes of RAM: ");
    const uint8_t *at = &__heap_start;
    while (*at == 0xA5) ++at;
    number((uint32_t)(RAMEND + 1 - RAMSTART) - (uint32_t)(at - &__heap_start));
    say("; cycles: ");
    number(cycles / ROWS);
    say(right == ROWS ? "; agreed\n" : "; not agreed\n");
    cli();
    sleep_mode();
    return 0;
}
