/// How far `gradient` is from the differences of `function` around `point`, as a part of the largest difference.
///
/// The slope along each element is taken from four points, (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h, whose error
/// falls with h^4: so h can be as large as single precision needs (its rounding costs about 2^-24 |f| / h).
///
/// - Parameters:
///   - gradient: what a backward pass gave, an element for each of `point`.
///   - step: h.
///   - stride: every how manieth element is looked at.
///   - function: a scalar, its terms summed in double precision.
package func gradientError(
    _ gradient: [Float], at point: [Float], step: Float = 0.02, stride: Int = 1,
    of function: ([Float]) throws -> Double
) rethrows -> Double {
    guard gradient.count == point.count else { return .infinity }
    var worst = 0.0
    var largest = 0.0
    for index in Swift.stride(from: 0, to: point.count, by: stride) {
        func value(_ steps: Float) throws -> Double {
            var shifted = point
            shifted[index] += steps * step
            return try function(shifted)
        }
        let near = try value(1) - value(-1)
        let far = try value(2) - value(-2)
        let slope = (8 * near - far) / (12 * Double(step))
        largest = max(largest, abs(slope))
        // A NaN must count as wrong, which max would swallow.
        let error = abs(Double(gradient[index]) - slope)
        worst = error.isNaN ? .infinity : max(worst, error)
    }
    return largest > 0 ? worst / largest : worst
}
