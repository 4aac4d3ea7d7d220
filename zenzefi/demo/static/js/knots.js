self.knots = miles => Math.round(miles * 1.852);
