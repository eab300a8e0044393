/* XOR on an ATmega328P, whose RAM is 2,048 bytes: trains, and says by the UART what it learned and how much memory it
   took. What the stack has not reached still holds the bytes that it was painted with. */
#include "xor.c"

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>

extern uint8_t __heap_start;

static xor_state state;

static void put(char c) {
    while (!(UCSR0A & (1 << UDRE0))) {
    }
    UDR0 = (uint8_t)c;
}

static void say(const char *text) {
    while (*text) put(*text++);
}

static void number(int32_t n) {
    char digits[12];
    uint8_t k = 0;
    if (n < 0) put('-'), n = -n;
    do digits[k++] = (char)('0' + n % 10);
    while (n /= 10);
    while (k) put(digits[--k]);
}

int main(void) {
    static const float rows[4][3] = {{-1, -1, -1}, {-1, 1, 1}, {1, -1, 1}, {1, 1, -1}};
    const uint8_t *top = (const uint8_t *)SP;
    for (uint8_t *at = &__heap_start; at < top - 16; ++at) *at = 0xA5;
    UCSR0B = 1 << TXEN0;
    float first = 0, loss = 0;
    xor_init(&state);
    for (int16_t k = 0; k < 300; ++k) {
        loss = xor_step(&state, &rows[0][0], 4, 0.1f);
        if (k == 0) first = loss;
    }
    say("loss in thousandths: ");
    number((int32_t)(first * 1000));
    say(" to ");
    number((int32_t)(loss * 1000));
    const uint8_t *at = &__heap_start;
    while (*at == 0xA5) ++at;
    say("; bytes of RAM: ");
    number((int32_t)(RAMEND + 1 - RAMSTART) - (int32_t)(at - &__heap_start));
    say(loss < 0.05f ? "; trained\n" : "; not trained\n");
    cli();
    sleep_mode();
    return 0;
}
