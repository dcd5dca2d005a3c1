//! Fewer points of a curve, with its spikes.

/// A point of a curve: where, and what.
pub(super) type Point = (f64, f64);

/// At most about `limit` of the points, which are in order: of each of as many stretches as fit,
/// the lowest and the highest. The first and the last point stay, and so does one of each
/// stretch's points that are not finite.
pub(super) fn decimate(points: &[Point], limit: usize) -> Vec<Point> {
    if points.len() <= limit || points.len() < 3 {
        return points.to_vec();
    }
    let (ends, inner) = ([points[0], points[points.len() - 1]], &points[1..points.len() - 1]);
    let stretches = (limit / 2).saturating_sub(1).max(1);
    let mut kept = vec![ends[0]];
    for stretch in inner.chunks(inner.len().div_ceil(stretches)) {
        let finite = || stretch.iter().enumerate().filter(|(_, point)| point.1.is_finite());
        let lowest = finite().min_by(|(_, a), (_, b)| a.1.total_cmp(&b.1));
        let highest = finite().max_by(|(_, a), (_, b)| a.1.total_cmp(&b.1));
        let gap = stretch.iter().enumerate().find(|(_, point)| !point.1.is_finite());
        let mut places: Vec<usize> =
            [lowest, highest, gap].into_iter().flatten().map(|(at, _)| at).collect();
        places.sort_unstable();
        places.dedup();
        kept.extend(places.into_iter().map(|at| stretch[at]));
    }
    kept.push(ends[1]);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spikes_gaps_and_ends_stay() {
        let mut points: Vec<Point> =
            (0..100_000).map(|x| (f64::from(x), (f64::from(x) / 5000.0).sin())).collect();
        points[31_415].1 = 99.0;
        points[27_182].1 = -99.0;
        points[50_000].1 = f64::NAN;
        let kept = decimate(&points, 1000);
        assert!((900..=1001).contains(&kept.len()), "{}", kept.len());
        assert!(kept.contains(&points[31_415]) && kept.contains(&points[27_182]));
        assert_eq!((kept[0], kept[kept.len() - 1]), (points[0], points[99_999]));
        assert_eq!(kept.iter().filter(|(x, y)| *x == 50_000.0 && y.is_nan()).count(), 1);
        assert!(kept.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn few_points_stay_as_they_are() {
        let points = [(0.0, 1.0), (1.0, 0.5), (2.0, 0.7)];
        assert_eq!(decimate(&points, 3), points);
        assert_eq!(decimate(&points, 0), points);
        assert_eq!(decimate(&[], 10), []);
        let nothing = vec![(0.0, f64::NAN); 5000];
        assert!(decimate(&nothing, 100).len() <= 100);
    }
}
