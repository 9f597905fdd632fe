/* The steps of learning vector quantization for one element type, see lvq.h.
 *
 * The including file defines REAL, TYPED(name) and LINE, LINE_INTS, LINE_ROWS: a vector of a
 * line, one of equally wide integers, and the rows whose sums are folded at once; and PART, PART_LOAD,
 * PART_STORE: what a register holds of a line. Sums are kept in those, as GCC moves a line that is wider
 * than a register through memory.
 */
#define LINE_SIZE ((ptrdiff_t)(VQ_LVQ_LINE / sizeof(REAL)))
#define LINE_AT(p) (*(const LINE *)(p))
#define PART_SIZE ((ptrdiff_t)(sizeof(PART) / sizeof(REAL)))
#define PARTS ((int)(VQ_LVQ_LINE / sizeof(PART)))

#include "lvq_scan.inc.h"
#include "lvq_steps.inc.h"
#include "lvq_rows.inc.h"

#undef LINE_SIZE
#undef LINE_AT
#undef PART_SIZE
#undef PARTS
